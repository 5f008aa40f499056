"""How the server is set up: where it listens, what it offers, and its limits."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass

from avser.errors import ConfigError

HELD = 200
"""Jobs that are kept at the same time, whatever `--keep` says; the oldest results go first."""
ROOM = 20
"""So many uploads of the largest size fit on the disk; the oldest go first."""
STALL = 30.0
"""A client that sends nothing for so long while it uploads is given up, s."""


@dataclass(frozen=True)
class Settings:
    """How the server is set up.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        models: names or paths of the models that can be chosen, the first by default; none for all shipped ones.
        workers: processes that predict.
        queue: most jobs that may wait.
        max_upload: largest upload, MB.
        max_minutes: longest recording.
        keep: minutes for which an upload and its result are kept.
        timeout: longest time of work on one recording, s.

    Raises:
        ConfigError: a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    models: tuple[str, ...] = ()
    workers: int = 1
    queue: int = 20
    max_upload: float = 200.0
    max_minutes: float = 30.0
    keep: float = 30.0
    timeout: float = 600.0

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port {self.port}: choose one from 0 (any that is free) to 65535")
        if self.workers < 1 or self.queue < 1:
            raise ConfigError(f"workers ({self.workers}) and queue ({self.queue}) must be one or more")
        for name in ("max_upload", "max_minutes", "keep", "timeout"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name.replace('_', '-')} ({value:g}) must be above zero")

    @property
    def upload_bytes(self) -> int:
        """The largest upload, bytes."""
        return int(self.max_upload * 1_000_000)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may stand for anything
            return False

"""The members of an ensemble: several configs in one, each by what differs from the first."""

from __future__ import annotations

from avser.config import Config, parse_config, set_key
from avser.types import ConfigError

MEMBERS_SHARE = ("branch", "labels", "corpora", "protocol", "exclude", "validation", "audio", "face", "split_seed")


def members(config: Config) -> list[Config]:
    """The configs of an ensemble's members, the first being the config itself; of any other config just that.

    Raises:
        ConfigError: a member's key is unknown, or differs in what members must share: data, split and input.
    """
    plain = config.model_copy(update={"ensemble": []})
    found = [plain]
    for number, changes in enumerate(config.ensemble, 2):
        values, source = plain.model_dump(), f"{config.name}, member {number} of the ensemble"
        for key, value in changes.items():
            set_key(values, key, value, f"{source}: {key!r}")
        member = parse_config(values, source)
        if other := [key for key in MEMBERS_SHARE if getattr(member, key) != getattr(config, key)]:
            raise ConfigError(f"{config.name}: member {number} of the ensemble may not differ in {other[0]!r}")
        found.append(member)
    return found

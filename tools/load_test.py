"""Ask a running `avser app` for predictions from many clients at once, and tell how it bears it.

    avser app --workers 2 &
    python tools/load_test.py tests/data/sample.mp4 --clients 8 --requests 80

Each client sends one request after the other to `POST /predict`. Meanwhile one more asks for `GET /health` twice a
second: whether the server still answers at once. A full queue (503) is no failure, but the server's word that it
has enough to do: the client waits a second and asks again.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

PATIENCE = 600.0
"""How long a client waits for an answer, s."""


@dataclass
class Tally:
    """What came of the requests: seconds of those that were answered, statuses, refusals of a full queue (`busy`).

    `health` holds the seconds that `GET /health` took.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    busy: int = 0
    health: list[float] = field(default_factory=list)


def ask(client: httpx.Client, content: bytes, name: str, data: dict[str, str], tally: Tally, wait: float) -> None:
    """One request, asked again while the queue is full; the time counts from the first try."""
    began = time.monotonic()
    while True:
        try:
            answer = client.post("/predict", files={"file": (name, content)}, data=data)
        except httpx.HTTPError as error:
            tally.statuses[type(error).__name__] += 1
            return
        if answer.status_code != 503:
            break
        tally.busy += 1
        time.sleep(wait)
    tally.statuses[str(answer.status_code)] += 1
    if answer.status_code == 200:
        tally.seconds.append(time.monotonic() - began)


def watch(client: httpx.Client, over: threading.Event, tally: Tally) -> None:
    """Ask how the server is until it is over."""
    while not over.wait(0.5):
        began = time.monotonic()
        client.get("/health").raise_for_status()
        tally.health.append(time.monotonic() - began)


def load(address: str, file: Path, clients: int, requests: int, data: dict[str, str], wait: float = 1.0) -> dict:
    """Figures: requests a minute, seconds at the quantiles, and what was not answered by 200.

    Args:
        data: settings of each request, as `POST /predict` takes them.
        wait: before a client asks again where the queue is full, s.
    """
    content, tally, over = file.read_bytes(), Tally(), threading.Event()
    limits = httpx.Limits(max_connections=clients + 1)
    with httpx.Client(base_url=address, timeout=PATIENCE, limits=limits) as client:
        ask(client, content, file.name, data, Tally(), wait)  # the worker loads its model
        watcher = threading.Thread(target=watch, args=(client, over, tally))
        watcher.start()
        began = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            for _ in range(requests):
                pool.submit(ask, client, content, file.name, data, tally, wait)
        seconds = time.monotonic() - began
        over.set()
        watcher.join()
    return {
        "clients": clients,
        "requests": requests,
        "seconds": round(seconds, 1),
        "requests_per_minute": round(60 * len(tally.seconds) / seconds, 1),
        "latency": quantiles(tally.seconds),
        "statuses": dict(tally.statuses),
        "failures": requests - tally.statuses["200"],
        "asked_again": tally.busy,
        "health_latency": quantiles(tally.health),
    }


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median, 90th and 99th percentile, and the largest, s."""
    if not seconds:
        return {}
    values = np.percentile(seconds, [50, 90, 99, 100])
    return {name: round(float(x), 3) for name, x in zip(("p50", "p90", "p99", "max"), values, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="recording that is sent")
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting, as hop=0.5")
    options = parser.parse_args()
    data = dict(pair.split("=", 1) for pair in options.set)
    print(json.dumps(load(options.address, options.file, options.clients, options.requests, data), indent=1))


if __name__ == "__main__":
    main()

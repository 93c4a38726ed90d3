"""What looking at an appliance costs it: `python -m benchmarks.watching [--rounds N]`.

Sixteen workers under the load of wrk. In each round: how much processor time the control process
takes by itself, for each of many scrapes of `/metrics`, and while a hundred dashboards are open.
Medians of the rounds are printed as a Markdown table.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import cpu_seconds
from benchmarks.processes import running

_WORKERS = 16
_CONNECTIONS = 64
_OBJECT_BYTES = 1 << 20
_SCRAPES = 40
_DASHBOARDS = 100
_SPAN_S = 15.0
_PATIENCE_S = 30.0


class Subject(NamedTuple):
    """A running appliance: where it serves, where it is controlled, its control process."""

    address: str
    control: str
    pid: int


class Round(NamedTuple):
    """Shares are of a core; seconds are medians of a round's scrapes."""

    share_alone: float
    scrape_cpu_s: float
    scrape_wall_s: float
    scrape_bytes: int
    share_of_dashboards: float


@contextmanager
def appliance(folder: Path) -> Iterator[Subject]:
    """With its sixteen workers, ended at the end."""
    (folder / "store").mkdir()
    (folder / "store" / "a.mp4").write_bytes(os.urandom(_OBJECT_BYTES))
    config = folder / "ocaserve.toml"
    config.write_text(
        f'[serve]\nlisten = ["127.0.0.1:0"]\nworkers = {_WORKERS}\n'
        f'access_log = "{folder}/access.log"\n[control]\nlisten = ["127.0.0.1:0"]\n'
        f'[[store]]\npath = "{folder}/store"\n'
    )
    read, write = os.pipe()
    command = [sys.executable, "-m", "ocaserve", "serve", "-c", str(config), "--ready-fd"]
    with running([*command, str(write)], folder / "log", pass_fds=(write,)):
        os.close(write)
        with os.fdopen(read) as told:
            facts = json.loads(told.readline())
        control = facts["services"]["control"][0]
        services = json.loads(ask(control, "/v1/services"))["services"]
        (pid,) = [row["pid"] for row in services if row["name"] == "control"]
        yield Subject(facts["listen"][0], control, pid)


@contextmanager
def load(subject: Subject) -> Iterator[None]:
    """As much as the machine gives, for as long as the block lasts."""
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", "-d600s", f"http://{subject.address}/a.mp4"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        time.sleep(2)
        yield
    finally:
        process.terminate()
        process.wait()


def ask(control: str, path: str) -> bytes:
    """The body of an answer."""
    connection = http.client.HTTPConnection(control, timeout=_PATIENCE_S)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def share_during(subject: Subject, span_s: float = _SPAN_S) -> float:
    """Of a core that the control process takes."""
    before, began = cpu_seconds(subject.pid), time.monotonic()
    time.sleep(span_s)
    return (cpu_seconds(subject.pid) - before) / (time.monotonic() - began)


def play(subject: Subject) -> Round:
    """One round."""
    alone = share_during(subject)
    walls, size = [], 0
    before, began = cpu_seconds(subject.pid), time.monotonic()
    for _ in range(_SCRAPES):
        asked = time.monotonic()
        size = len(ask(subject.control, "/metrics"))
        walls.append(time.monotonic() - asked)
    took = time.monotonic() - began
    cost = (cpu_seconds(subject.pid) - before - alone * took) / _SCRAPES
    with dashboards(subject):
        watched = share_during(subject)
    return Round(alone, cost, statistics.median(walls), size, watched - alone)


@contextmanager
def dashboards(subject: Subject) -> Iterator[None]:
    """A hundred open ones; a process of its own reads what they are sent."""
    with ExitStack() as stack:
        reader = [sys.executable, "-m", "benchmarks.watching", "--read", subject.control]
        process = stack.enter_context(
            subprocess.Popen(reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        yield
        process.stdin.close()


def read_dashboards(control: str) -> None:
    """Open them, say so, and read until the input ends."""
    import selectors

    host, _, port = control.rpartition(":")
    with ExitStack() as stack, selectors.DefaultSelector() as ready:
        for _ in range(_DASHBOARDS):
            stream = stack.enter_context(socket.create_connection((host, int(port))))
            stream.sendall(b"GET /v1/dashboard/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ready.register(stream, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        print("open", flush=True)
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin:
                    return
                os.read(key.fd, 1 << 18)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--read", metavar="ADDR:PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read:
        read_dashboards(arguments.read)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        subject = stack.enter_context(appliance(folder))
        stack.enter_context(load(subject))
        rounds = [play(subject) for _ in range(arguments.rounds)]
    middle = Round(*(statistics.median(figures) for figures in zip(*rounds, strict=True)))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {_WORKERS} workers\n")
    print("| what | figure |\n|---|---|")
    print(f"| control process alone, under load | {middle.share_alone:.1%} of a core |")
    print(f"| a scrape of `/metrics`, processor time | {middle.scrape_cpu_s * 1e3:.1f} ms |")
    print(f"| the same, until it is read | {middle.scrape_wall_s * 1e3:.1f} ms |")
    print(f"| its size | {middle.scrape_bytes / 1000:.0f} kB |")
    print(f"| {_DASHBOARDS} dashboards open | {middle.share_of_dashboards:.1%} of a core more |")


if __name__ == "__main__":
    main()

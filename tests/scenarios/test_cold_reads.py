"""Clients whose bytes are in memory never wait for those whose bytes are on a slow disk."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.pages import free_sent_pages, make_cold, resident_bytes
from tests.support.slow_disk import slow_disk, why_no_slow_disk
from tests.support.slow_store import READ_DELAY_S, Rule, SlowStore, slow_store
from tests.support.waiting import eventually
from tests.support.wire import Address, Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

STREAMS = 4
COLD_BYTES = 4 << 20
HOT = blob(100_000, seed=21)
COLD = [blob(COLD_BYTES, seed=30 + n) for n in range(STREAMS)]


def write_store(folder: Path) -> None:
    write_object(folder, "hot.mp4", HOT)
    for n, data in enumerate(COLD):
        write_object(folder, f"cold{n}.mp4", data)


class ColdClients:
    """Clients that each fetch a cold object, in threads of their own."""

    def __init__(self, address: Address) -> None:
        self.answers: dict[int, Response] = {}
        self._address = address
        self._threads = [threading.Thread(target=self._fetch, args=(n,)) for n in range(STREAMS)]
        for thread in self._threads:
            thread.start()

    def _fetch(self, number: int) -> None:
        with Wire(self._address, timeout_s=60) as wire:
            self.answers[number] = wire.get(f"/cold{number}.mp4")

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    @property
    def are_all_waiting(self) -> bool:
        return not self.answers

    def assert_whole(self) -> None:
        self.join()
        assert {n: answer.body for n, answer in self.answers.items()} == dict(enumerate(COLD))


@contextmanager
def hot_client(address: Address) -> Iterator[Callable[[], None]]:
    """A function that fetches the hot object once and looks at every byte."""
    with Wire(address) as wire:

        def fetch_once() -> None:
            assert wire.get("/hot.mp4").body == HOT

        fetch_once()
        yield fetch_once


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SlowStore]:
    write_store(tmp_path / "below")
    (tmp_path / "slow").mkdir()
    with slow_store(tmp_path / "below", tmp_path / "slow") as mounted:
        yield mounted


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_disk_that_does_not_answer(store: SlowStore, serve: Serve, loop: str) -> None:
    """While four reads never return, another client of the same worker gets a thousand answers."""
    store.set_rules(Rule("read", "cold*", is_held=True))
    with serve(store.path, workers=1, toml=f'[serve]\nloop = "{loop}"\n') as running:
        with hot_client(running.address) as fetch_hot:
            cold = ColdClients(running.address)
            for n in range(STREAMS):
                store.await_begun("read", f"cold{n}.mp4")
            for _ in range(1000):
                fetch_hot()
            assert cold.are_all_waiting
        store.set_rules()
        cold.assert_whole()
        assert running.counters()["bytes_sendfile_cold"] > 0


def test_client_that_goes_while_a_thread_sends(
    store: SlowStore, serve: Serve, tmp_path: Path
) -> None:
    """What it got is logged and counted, once the thread is back."""
    log = tmp_path / "access.json"
    toml = f'[serve]\naccess_log = "{log}"\naccess_log_format = "json"\n'
    store.set_rules(Rule("read", "cold0*", start=512 << 10, is_held=True))
    with serve(store.path, workers=1, toml=toml) as running:
        with Wire(running.address) as wire:
            wire.send(request("/cold0.mp4"))
            received = wire.read_exactly(300_000)
            time.sleep(0.5)  # the thread has sent what it got, and waits for more
            wire.reset()
        eventually(lambda: running.counters()["close_client_gone"] == 1, "the abort is noticed")
        assert running.counters()["responses_2xx"] == 0
        store.set_rules()
        eventually(lambda: log.stat().st_size, "it is logged")
        line = json.loads(log.read_text())
        assert line["bytes"] >= len(received.partition(b"\r\n\r\n")[2])
        assert line["bytes"] == running.counters()["bytes_sendfile_cold"]
        assert line["note"] == "client_gone"


@pytest.mark.parametrize("operation", ["open", "getattr"])
def test_look_up_that_does_not_return(store: SlowStore, serve: Serve, operation: str) -> None:
    """Opening and asking for the size wait for the disk as well, and hold nobody either."""
    with serve(store.path, workers=1) as running, hot_client(running.address) as fetch_hot:
        rule = Rule("open" if operation == "open" else "getattr", "cold0*", is_held=True)
        store.set_rules(rule)
        with Wire(running.address) as waiting:
            begun = store.count_begun(rule.operation, "cold0*")
            waiting.send(request("/cold0.mp4"))
            store.await_begun(rule.operation, "cold0*", begun + 1)
            for _ in range(1000):
                fetch_hot()
            store.set_rules()
            assert waiting.read_response().body == COLD[0]


def test_slow_store(store: SlowStore, serve: Serve) -> None:
    """Between two reads of a disk that takes 0.2 s for each, the hot client gets many answers."""
    store.set_rules(Rule("read", "cold*", delay_s=READ_DELAY_S))
    with serve(store.path, workers=1) as running, hot_client(running.address) as fetch_hot:
        cold = ColdClients(running.address)
        for _ in range(5):
            begun = store.count_begun("read", "cold*")
            for _ in range(20):  # inline, each of these would wait for reads of four streams
                fetch_hot()
            assert store.count_begun("read", "cold*") <= begun + 4 * STREAMS
        cold.assert_whole()


@pytest.mark.skipif(why_no_slow_disk() is not None, reason=str(why_no_slow_disk()))
@pytest.mark.timeout(90)
def test_throttled_disk(serve: Serve, tmp_path: Path) -> None:
    """The same with a real block device that gives 4 MiB a second."""
    with slow_disk(tmp_path, size_bytes=64 << 20, read_bytes_per_s=4 << 20) as disk:
        write_store(disk.path)
        for n in range(STREAMS):
            make_cold(disk.path / f"cold{n}.mp4")
        with serve(disk.path, workers=1) as running:
            disk.throttle(running.pid)
            with hot_client(running.address) as fetch_hot:
                cold = ColdClients(running.address)
                for _ in range(500):
                    fetch_hot()
                assert cold.are_all_waiting
            cold.assert_whole()


# -- what stays in memory ------------------------------------------------------------------------


def is_made_cold(path: Path) -> bool:
    """Drop its pages; whether all went, which those in a socket's hands do not."""
    free_sent_pages()
    make_cold(path)
    return resident_bytes(path) == 0


def read_from_disk(running: Daemon, path: Path, data: bytes) -> None:
    """Have the daemon send an object of which nothing is in memory."""
    eventually(lambda: is_made_cold(path), f"{path.name} is cold", timeout_s=40)
    assert fetch(running.address, request(f"/{path.name}")).body == data


def have_gone(path: Path) -> bool:
    """Nearly all: what a socket of the kernel still holds cannot go, and may be a large folio."""
    free_sent_pages()
    return resident_bytes(path) <= COLD_BYTES // 4


@pytest.mark.timeout(150)
@pytest.mark.parametrize(
    ("policy", "stays"),
    [pytest.param("drop", False, id="drop"), pytest.param("second-read", True, id="second_read")],
)
def test_pages_read_from_disk(serve: Serve, tmp_path: Path, policy: str, stays: bool) -> None:
    """What one client wants once leaves memory again; what is wanted twice may stay."""
    twice = write_object(tmp_path, "cold0.mp4", COLD[0])
    once = write_object(tmp_path, "cold1.mp4", COLD[1])
    with serve(tmp_path, workers=1, toml=f'[serve]\ncold_pages = "{policy}"\n') as running:
        read_from_disk(running, twice, COLD[0])
        eventually(lambda: have_gone(twice), "the first read's pages go", timeout_s=40)
        read_from_disk(running, twice, COLD[0])
        read_from_disk(running, once, COLD[1])
        eventually(lambda: have_gone(once), "the later read's pages go", timeout_s=40)
        if stays:  # not to the last page: the machine may need some for others
            assert resident_bytes(twice) > COLD_BYTES * 3 // 4
        else:
            eventually(lambda: have_gone(twice), "the pages never stay", timeout_s=40)

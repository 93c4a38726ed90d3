"""Many clients on stores that stall and fail: nobody waits for another's disk, no byte is wrong."""

from __future__ import annotations

import errno
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.processes import children
from tests.support.slow_store import Rule, SlowStore, slow_store
from tests.support.waiting import eventually
from tests.support.wire import Address, MalformedResponseError, Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

HOT = blob(100_000, seed=31)
TOML = '[serve]\naccess_log = "off"\n'


@contextmanager
def store_on(folder: Path, name: str) -> Iterator[SlowStore]:
    """What lies in `folder/name-below`, on a disk of its own."""
    (folder / name).mkdir()
    with slow_store(folder / f"{name}-below", folder / name) as store:
        yield store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SlowStore]:
    write_object(tmp_path / "a-below", "hot.mp4", HOT)
    for number in range(40):
        write_object(tmp_path / "a-below", f"cold{number}.mp4", blob(100_000, seed=number))
    with store_on(tmp_path, "a") as mounted:
        yield mounted


def ask(address: Address, *keys: str) -> list[Wire]:
    """Clients that each have asked for one of these, and wait."""
    clients = []
    for key in keys:
        clients.append(Wire(address, timeout_s=60))
        clients[-1].send(request(f"/{key}"))
    return clients


def statuses_of(clients: list[Wire]) -> list[int]:
    """What each of them hears, before it goes."""
    statuses = []
    for client in clients:
        with client:
            statuses.append(client.read_response().status)
    return statuses


def descriptors(daemon: Daemon) -> int:
    (worker,) = daemon.workers()
    return len(os.listdir(f"/proc/{worker}/fd"))


def test_known_object_beside_look_ups_that_hang(store: SlowStore, serve: Serve) -> None:
    """It is served, and compared, while 200 others are looked for in vain."""
    with serve(store.path, workers=1, toml=TOML) as running, Wire(running.address) as viewer:
        assert viewer.get("/hot.mp4").body == HOT
        store.set_rules(Rule("getattr", "miss*", is_held=True))
        misses = ask(running.address, *(f"miss{number}" for number in range(200)))
        eventually(lambda: running.counters()["lookups"] >= 201, "all are looked for")
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # over several comparisons, of which each takes a thread
            assert viewer.get("/hot.mp4").body == HOT
        assert running.counters()["lookup_misses"] == 0
        store.set_rules()
        assert statuses_of(misses) == [404] * 200


def test_look_up_that_gets_no_answer(store: SlowStore, serve: Serve) -> None:
    """After stall_s its client hears that the object can't be had now, not that it is not there."""
    store.set_rules(Rule("getattr", "cold1.mp4", is_held=True))
    with serve(store.path, workers=1, toml=f"{TOML}[serve.limits]\nstall_s = 0.5\n") as running:
        answer = fetch(running.address, request("/cold1.mp4"))
        assert (answer.status, answer.field(b"cache-control")) == (503, b"no-store")
        assert answer.field(b"retry-after")
        eventually(lambda: running.counters()["close_store_stalled"] == 1, "it is counted")
        store.set_rules()
        assert fetch(running.address, request("/cold1.mp4")).status == 200


def test_worker_that_begins_while_a_disk_is_slow(store: SlowStore, serve: Serve) -> None:
    """Its clients wait for its first look, and have what the worker before it would have sent."""
    with serve(store.path, workers=1, toml=TOML) as running:
        assert fetch(running.address, request("/hot.mp4")).body == HOT
        asked = running.counters()["lookups"]
        processes = len(children(running.pid))
        store.set_rules(Rule("opendir", "", is_held=True))
        try:
            running.signal(signal.SIGHUP)
            eventually(lambda: "reloaded:" in running.log.read_text(), "another is in its place")
            clients = ask(running.address, "hot.mp4", "missing.mp4")
            eventually(lambda: running.counters()["lookups"] == asked + 2, "both are looked for")
        finally:
            store.set_rules()
        assert statuses_of(clients) == [200, 404]
        assert f"'{store.path}': no answer in 2 s" in running.log.read_text()
        eventually(lambda: len(children(running.pid)) == processes, "who waited for it is gone")


def test_start_while_a_disk_is_slow(store: SlowStore, serve: Serve) -> None:
    """The appliance is there, and serves from it when it answers."""
    store.set_rules(Rule("opendir", "", is_held=True))
    with serve(store.path, workers=1, toml=TOML) as running:
        try:
            clients = ask(running.address, "hot.mp4")
            eventually(lambda: running.counters()["lookups"] == 1, "it is looked for")
        finally:
            store.set_rules()
        assert statuses_of(clients) == [200]


def test_look_ups_that_find_no_place(store: SlowStore, serve: Serve) -> None:
    """They are told to come again, and counted."""
    store.set_rules(Rule("getattr", "miss*", is_held=True))
    toml = f"{TOML}[serve.limits]\nlookups = 10\n"
    with serve(store.path, workers=1, toml=toml) as running:
        misses = ask(running.address, *(f"miss{number}" for number in range(60)))
        refused = eventually(lambda: running.counters()["lookups_refused"], "some are refused")
        eventually(lambda: running.counters()["responses_5xx"] >= refused, "they hear it")
        assert fetch(running.address, request("/miss-late")).field(b"retry-after")
        store.set_rules()
        assert set(statuses_of(misses)) == {404, 503}
        assert fetch(running.address, request("/hot.mp4")).body == HOT


@pytest.mark.parametrize("operation", ["getattr", "read"])
def test_clients_that_leave_while_the_disk_hangs(
    store: SlowStore, serve: Serve, operation: str
) -> None:
    """They are forgotten at once: they cost neither descriptor nor place."""
    rule = Rule("getattr" if operation == "getattr" else "read", "cold*", is_held=True)
    toml = f"{TOML}io_threads = 4\n[serve.limits]\nlinger_s = 0.1\n"
    with serve(store.path, workers=1, toml=toml) as running:
        assert fetch(running.address, request("/hot.mp4")).body == HOT
        store.set_rules(rule)
        before = descriptors(running)
        left = running.counters()["connections"]
        clients = ask(running.address, *(f"cold{number}.mp4" for number in range(40)))
        eventually(lambda: running.counters()["lookups"] >= 41, "all are asked for")
        for number, client in enumerate(clients):
            if number % 2:
                client.reset()
            else:
                client.close()
        eventually(lambda: running.counters()["connections"] <= left, "all are gone")
        # Those that threads have keep socket and file; all that are open are kept as ever.
        eventually(lambda: descriptors(running) <= before + 40 + 2 * 8, "no descriptor is left")
        assert fetch(running.address, request("/hot.mp4")).body == HOT
        store.set_rules()
        assert fetch(running.address, request("/cold1.mp4")).status == 200


def test_cold_objects_one_after_the_other(store: SlowStore, serve: Serve) -> None:
    """What their pages are kept in mind for keeps no descriptor beyond `open_files`."""
    with serve(store.path, workers=1, toml=f"{TOML}open_files = 16\n") as running:
        before = descriptors(running)
        with Wire(running.address) as wire:
            for number in range(40):
                part = wire.get(f"/cold{number}.mp4", [("Range", "bytes=50000-50009")])
                assert part.body == blob(100_000, seed=number)[50_000:50_010]
        eventually(lambda: descriptors(running) <= before + 16 + 4, "the oldest are closed")
        eventually(lambda: running.counters()["open_files"] == 16, "as many are kept")


# -- faults that come and go ---------------------------------------------------------------------

OBJECTS = 24
SIZE = 150_000
FAULTS: list[tuple[str, list[Rule], list[Rule]]] = [
    ("one disk gives errors", [Rule("open", "*", error=errno.EIO)], []),
    ("one object is bad", [Rule("read", "o3", error=errno.EIO)], []),
    ("one disk hangs", [Rule("getattr", "o*", is_held=True), Rule("read", "*", is_held=True)], []),
    ("a disk's server is gone", [Rule("read", "*", error=errno.ENOTCONN)], []),
    (
        "both have bad objects",
        [Rule("open", "o1*", error=errno.ESTALE)],
        [Rule("open", "o2*", error=errno.ETIMEDOUT)],
    ),
    (
        "both are slow and one gives errors",
        [Rule("open", "*", delay_s=0.05)],
        [Rule("read", "*", error=errno.EREMOTEIO)],
    ),
]
FAULT_S, BACK_S = 1.0, 10.0


class Viewers:
    """Clients that ask for parts of objects, and compare every byte, until they are ended.

    is_quiet: no fault is on, and none was lately: then every answer must be whole.
    """

    def __init__(self, address: Address, objects: dict[str, bytes], count: int) -> None:
        self.answered = self.refused = self.cut = 0
        self.wrong: list[str] = []
        self.is_quiet = True
        self._address = address
        self._objects = objects
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(n,)) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def _watch(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self._over.is_set():
            try:
                with Wire(self._address, timeout_s=3) as wire:
                    while not self._over.is_set():
                        self._ask(wire, dice)
            except (MalformedResponseError, OSError) as error:
                self.cut += 1
                self._must_be_whole(f"cut: {error}")

    def _ask(self, wire: Wire, dice: random.Random) -> None:
        key = dice.choice(list(self._objects))
        start = dice.randrange(SIZE - 1000)
        stop = dice.randrange(start + 1, SIZE)
        answer = wire.get(f"/{key}", [("Range", f"bytes={start}-{stop - 1}")])
        if answer.status == 206:
            self.answered += 1
            if answer.body != self._objects[key][start:stop]:
                self.wrong.append(f"{key}: bytes {start}-{stop - 1} are others")
        else:
            self.refused += 1
            self._must_be_whole(f"{key}: {answer.status}")
            if answer.status != 503:
                self.wrong.append(f"{key}: {answer.status}")

    def _must_be_whole(self, what: str) -> None:
        if self.is_quiet:
            self.wrong.append(f"{what}, and no fault was on")

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def are_all_whole(address: Address, objects: dict[str, bytes]) -> bool:
    with Wire(address, timeout_s=3) as wire:
        return all(wire.get(f"/{key}").body == data for key, data in objects.items())


def is_back(address: Address, objects: dict[str, bytes]) -> bool:
    try:
        return are_all_whole(address, objects)
    except (MalformedResponseError, OSError):
        return False


def test_faults_that_come_and_go(serve: Serve, tmp_path: Path) -> None:
    """Every byte is right; what is refused or cut is so for a fault; all is back soon after."""
    objects = {f"o{number}": blob(SIZE, seed=100 + number) for number in range(OBJECTS)}
    for number, (key, data) in enumerate(objects.items()):
        for name in ("a", "b") if number % 3 == 0 else ("a",) if number % 3 == 1 else ("b",):
            write_object(tmp_path / f"{name}-below", key, data)
    with ExitStack() as stack:
        a, b = (stack.enter_context(store_on(tmp_path, name)) for name in ("a", "b"))
        toml = f"{TOML}open_files = 16\nstore_retry_s = 0.5\n[serve.limits]\nstall_s = 2\n"
        running = stack.enter_context(serve(a.path, b.path, workers=1, toml=toml))
        address = running.address
        assert are_all_whole(address, objects)
        viewers = Viewers(address, objects, 6)
        stack.callback(viewers.end)
        for name, of_a, of_b in FAULTS:
            viewers.is_quiet = False
            a.set_rules(*of_a)
            b.set_rules(*of_b)
            time.sleep(FAULT_S)  # for which it lasts
            a.set_rules()
            b.set_rules()
            eventually(lambda: is_back(address, objects), f"{name}: all is back", timeout_s=BACK_S)
            eventually(lambda: running.counters()["stores_failed"] == 0, f"{name}: none is failed")
            assert viewers.wrong == [], name
        viewers.end()
        assert viewers.answered > 100
        assert viewers.refused + viewers.cut > 0, "no fault was met"
        eventually(lambda: running.counters()["connections"] == 0, "all have gone")
        assert running.counters()["open_files"] <= 16
        assert running.counters()["defects"] == 0

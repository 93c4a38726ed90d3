"""The faults: what each does while it is on, and what it may cost clients meanwhile."""

from __future__ import annotations

import errno
import os
import random
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.cgroups import Limit, limited
from tests.chaos.appliance import OBJECTS, WORKERS, Appliance
from tests.chaos.clients import Kind
from tests.chaos.judging import Excuse
from tests.support.slow_store import Rule
from tests.support.tls_records import HANDSHAKE, KEY_UPDATE, RecordWire
from tests.support.tls_wire import TlsWire
from tests.support.wire import Wire, request

Hold = Callable[[Appliance, random.Random], Iterator[None]]
_BETWEEN_S = 0.1
_OWN_PATIENCE_S = 0.3  # of a fault's own client, or a worker that stands still would for far longer
_SMALL_BYTES = 1 << 20


class Fault(NamedTuple):
    """`hold` is on while its block lasts. `claims`: what no other may lay hands on meanwhile.
    cgroup: the resource that a control group must govern here; empty for none.
    """

    name: str
    hold: Hold
    excuse: Excuse = Excuse()
    claims: str = ""
    needs_root: bool = False
    cgroup: str = ""


FAULTS: list[Fault] = []


def fault(
    *kinds: Kind,
    keys: str = "*",
    claims: str = "",
    root: bool = False,
    traceback: bool = False,
    cgroup: str = "",
) -> Callable[[Hold], Hold]:
    """Add a function to the faults, with what it may cost: kinds of failures, of these keys."""

    def add(hold: Hold) -> Hold:
        name = hold.__name__.replace("_", " ")
        excuse = Excuse(frozenset(kinds), keys, traceback)
        FAULTS.append(Fault(name, hold, excuse, claims, root, cgroup))
        return hold

    return add


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    """Do it again and again in a thread while the block runs. What the fault meets is its own."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(_BETWEEN_S):
            with suppress(OSError):
                act()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


# -- processes -----------------------------------------------------------------------------------


@fault("cut", claims="workers")
def a_worker_is_killed(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    os.kill(chance.choice(appliance.workers()), signal.SIGKILL)
    yield


@fault("cut", claims="workers")
def workers_are_killed_again_and_again(
    appliance: Appliance, chance: random.Random
) -> Iterator[None]:
    def kill() -> None:
        time.sleep(0.4)
        _kill(appliance.workers()[chance.randrange(2) :][:1])

    with meanwhile(kill):
        yield


@fault(claims="control")
def control_is_killed(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    os.kill(appliance.daemon.control(), signal.SIGKILL)
    yield


@fault(claims="bgp")
def exabgp_is_killed(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    _kill(appliance.exabgp())
    yield


@fault(claims="bgp")
def the_feeder_is_killed(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    _kill(appliance.feeder())
    yield


@fault(claims="workers")
def a_worker_stands_still(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    yield from _stop(chance.choice(appliance.workers()))


@fault(claims="control")
def control_stands_still(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _stop(appliance.daemon.control())


@fault(claims="supervisor")
def the_supervisor_stands_still(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _stop(appliance.daemon.pid)


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _stop(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


# -- stores --------------------------------------------------------------------------------------


@fault("503", keys="solid/*", claims="solid")
def a_store_is_missing(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _away(appliance.folder / "solid")


@fault(claims="solid")
def objects_are_published_anew(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    def publish() -> None:
        key = chance.choice([key for key in OBJECTS if key.startswith("solid/")])
        path = appliance.folder / "solid" / key
        draft = path.with_name(f".{path.name}")
        draft.write_bytes(OBJECTS[key])
        draft.rename(path)

    with meanwhile(publish):
        yield


@fault("503", "cut", keys="frail/film.mp4", claims="frail")
def a_file_cannot_be_read(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _rule(appliance, Rule("read", "frail/film.mp4", error=errno.EIO))


@fault("503", "cut", keys="frail/*", claims="frail")
def a_disk_fails(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _rule(
        appliance,
        *(Rule(what, "*", error=errno.EIO) for what in ("getattr", "open", "read")),
    )


@fault("503", "cut", keys="frail/*", claims="frail")
def a_store_may_not_be_entered(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _rule(
        appliance,
        *(Rule(what, "*", error=errno.EACCES) for what in ("getattr", "open")),
    )


@fault("503", "late", keys="frail/*", claims="frail")
def a_disk_hangs(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _rule(
        appliance,
        *(Rule(what, "*", is_held=True) for what in ("getattr", "open", "read")),
    )


@fault("late", "503", keys="frail/*", claims="frail")
def a_disk_is_slow(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _rule(appliance, Rule("read", "*", delay_s=0.5))


# A look that met the fault is over by then, and what it found can be read in the metrics.
_LOOK_S = 0.5


def _rule(appliance: Appliance, *rules: Rule) -> Iterator[None]:
    appliance.make_frail_cold()
    appliance.frail.set_rules(*rules)
    try:
        yield
    finally:
        appliance.frail.set_rules()
        time.sleep(_LOOK_S)


def _away(path: Path) -> Iterator[None]:
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


# -- logs ----------------------------------------------------------------------------------------


@fault(claims="logs", root=True)
def the_disk_of_the_log_is_full(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    filler = appliance.folder / "var" / "filler"
    with suppress(OSError), filler.open("wb") as file:
        while True:
            file.write(bytes(4096))
            file.flush()
    try:
        yield
    finally:
        filler.unlink()


@fault(claims="logs")
def the_folder_of_the_log_is_missing(
    appliance: Appliance, _chance: random.Random
) -> Iterator[None]:
    with _reopened(appliance):
        yield from _away(appliance.logs)


@fault(claims="logs", root=True)
def the_folder_of_the_log_is_read_only(
    appliance: Appliance, _chance: random.Random
) -> Iterator[None]:
    with _reopened(appliance):
        mount = ["mount", "-t", "tmpfs", "-o", "ro,size=4k", "chaos", str(appliance.logs)]
        subprocess.run(mount, check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(appliance.logs)], check=True)


@fault(claims="logs")
def the_log_is_a_pipe_that_nobody_reads(
    appliance: Appliance, _chance: random.Random
) -> Iterator[None]:
    log = appliance.logs / "access.log"
    with _reopened(appliance):
        log.unlink(missing_ok=True)
        os.mkfifo(log)
        try:
            yield
        finally:
            log.unlink()


@contextmanager
def _reopened(appliance: Appliance) -> Iterator[None]:
    """The log is opened anew a moment after the fault has come, and once it has gone."""
    later = threading.Timer(_BETWEEN_S, appliance.daemon.signal, [signal.SIGUSR1])
    later.start()
    try:
        yield
    finally:
        later.join()
        appliance.daemon.signal(signal.SIGUSR1)


@fault(claims="stderr")
def nobody_reads_standard_error(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    appliance.journal.is_stopped.set()
    writing = os.open(appliance.journal.fifo, os.O_WRONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"\n" * 4096)
    try:
        yield
    finally:
        os.close(writing)
        appliance.journal.is_stopped.clear()


# -- what the kernel has too little of -----------------------------------------------------------


@fault("503", "late", claims="workers")
def a_worker_has_no_more_descriptors(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    pid = chance.choice(appliance.workers()[-WORKERS:])  # those before end after a reload
    most = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    yield from _limit(pid, resource.RLIMIT_NOFILE, most + 1)


@fault("503", "cut", "late", claims="workers", traceback=True)
def a_worker_has_no_more_memory(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    pid = chance.choice(appliance.workers()[-WORKERS:])
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    yield from _limit(pid, resource.RLIMIT_AS, pages * resource.getpagesize())


def _limit(pid: int, what: int, most: int) -> Iterator[None]:
    before, hard = resource.prlimit(pid, what)
    resource.prlimit(pid, what, (most, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, what, (before, hard))


@fault("503", "late", "cut", claims="workers", traceback=True, cgroup="memory")
def a_worker_is_out_of_its_memory_group(
    appliance: Appliance, chance: random.Random
) -> Iterator[None]:
    """What it asks for anew is refused, or paid for with pages of files; the kernel may kill it."""
    pid = chance.choice(appliance.workers()[-WORKERS:])
    with limited([pid], Limit("memory", _SMALL_BYTES)):
        yield


@fault("503", "late", claims="workers", cgroup="cpu")
def a_worker_has_little_of_a_processor(
    appliance: Appliance, chance: random.Random
) -> Iterator[None]:
    pid = chance.choice(appliance.workers()[-WORKERS:])
    with limited([pid], Limit("cpu", 50)):
        yield


@fault("cut", "503", claims="workers", cgroup="pids")
def no_process_can_be_made(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    """A worker ends meanwhile, and cannot be replaced; the others serve."""
    threads = len(os.listdir(f"/proc/{appliance.daemon.pid}/task"))
    with limited([appliance.daemon.pid], Limit("pids", threads)):
        _kill([chance.choice(appliance.workers())])
        yield


# -- what operators do ---------------------------------------------------------------------------


@fault(claims="config")
def reload_after_reload(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    with meanwhile(lambda: appliance.daemon.signal(signal.SIGHUP)):
        yield


@fault(claims="config")
def the_configuration_is_garbage(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _garbled(appliance, appliance.config)


@fault(claims="config")
def the_certificate_is_garbage(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    yield from _garbled(appliance, appliance.pair.cert)


def _garbled(appliance: Appliance, path: Path) -> Iterator[None]:
    good = path.read_bytes()
    path.write_bytes(b"\xff[garbage")
    appliance.daemon.signal(signal.SIGHUP)
    try:
        yield
    finally:
        path.write_bytes(good)
        appliance.daemon.signal(signal.SIGHUP)


# -- what other clients do -----------------------------------------------------------------------


@fault()
def half_a_message_of_tls(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    def send() -> None:
        with RecordWire(appliance.tls, 3, timeout_s=_OWN_PATIENCE_S) as wire:
            asked = wire.record(23, request("/solid/film.mp4"))
            wire.socket.sendall(asked + wire.record(HANDSHAKE, KEY_UPDATE[:3]))
            wire.socket.settimeout(0.5)
            wire.is_ended()

    with meanwhile(send):
        yield


@fault()
def clients_that_do_not_read(appliance: Appliance, _chance: random.Random) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(20):
            kind, address = (TlsWire, appliance.tls) if number % 2 else (Wire, appliance.plain)
            with suppress(OSError):  # where another fault keeps it from being taken
                wire = stack.enter_context(
                    kind(address, receive_buffer=4096, timeout_s=_OWN_PATIENCE_S)
                )
                wire.send(request("/solid/film.mp4"))
        yield


@fault()
def clients_that_talk_rubbish(appliance: Appliance, chance: random.Random) -> Iterator[None]:
    def talk() -> None:
        address = chance.choice([appliance.plain, appliance.tls])
        with socket.create_connection(address, timeout=1) as sock:
            sock.sendall(chance.randbytes(chance.randrange(40_000)))

    with meanwhile(talk):
        yield


@fault()
def clients_that_come_and_say_nothing(
    appliance: Appliance, _chance: random.Random
) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(200):
            address = appliance.tls if number % 2 else appliance.plain
            stack.enter_context(socket.create_connection(address, timeout=5))
        yield

"""Files that change under a response, stores that fail: nothing wrong is sent as if right."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.slow_store import Operation, Rule, SlowStore, slow_store
from tests.support.waiting import eventually
from tests.support.wire import MalformedResponseError, Response, Wire, fetch, request

pytestmark = pytest.mark.scenario

ODD_ERRORS = (
    "EACCES", "EAGAIN", "EBUSY", "EINTR", "EINVAL", "EIO", "EKEYREJECTED", "ELOOP", "EMFILE",
    "ENFILE", "ENODATA", "ENODEV", "ENOKEY", "ENOMEM", "ENOTCONN", "ENXIO", "EOPNOTSUPP",
    "EOVERFLOW", "EPERM", "EREMOTEIO", "ESTALE", "ETIMEDOUT", "ETXTBSY", "EUCLEAN",
)  # fmt: skip
ODD: list[tuple[Operation, str]] = [
    *(("open", name) for name in ODD_ERRORS), *(("read", name) for name in ODD_ERRORS),
]  # fmt: skip
GOOD = ("good", "better", "best")

SIZE = 24 << 20  # more than the buffers of a connection hold
OLD, NEW = blob(SIZE, seed=11), blob(SIZE, seed=12)


class Odd(NamedTuple):
    """A store of which some objects give errors, and who serves it."""

    store: SlowStore
    daemon: Daemon


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def daemon(serve: Serve, store: Path) -> Iterator[Daemon]:
    with serve(store, workers=1) as running:
        yield running


@pytest.fixture
def movie(daemon: Daemon, store: Path) -> Iterator[Path]:
    """The movie as it was at first, and the server aware of it: it may take a second to see."""
    path = write_object(store, "movie.mp4", OLD)
    eventually(lambda: serves(daemon, OLD), "the movie is seen")
    yield path
    path.unlink(missing_ok=True)


def serves(daemon: Daemon, data: bytes) -> bool:
    """Whether the answer is whole, and this version. While a change is unseen, it may be cut."""
    with suppress(MalformedResponseError, ConnectionResetError):
        return fetch(daemon.address, request("/movie.mp4")).body == data
    return False


def begin(daemon: Daemon) -> Wire:
    """A client that has read the beginning of the movie and paused."""
    wire = Wire(daemon.address, receive_buffer=4096)
    wire.send(request("/movie.mp4"))
    head = wire.read_head()
    assert (head.status, head.length) == (200, SIZE)
    return wire


def read_what_comes(wire: Wire) -> bytes:
    """The body as far as it comes, up to the length that was promised."""
    try:
        return wire.read_exactly(SIZE)
    except (MalformedResponseError, ConnectionResetError):
        return wire.read_unread()


def replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(".fresh")
    fresh.write_bytes(data)
    fresh.rename(path)


# -- a file changes ------------------------------------------------------------------------------


def test_replaced_during_a_response(daemon: Daemon, movie: Path) -> None:
    """The response goes on with the version it began with; the next request gets the new one."""
    old_tag = fetch(daemon.address, request("/movie.mp4", method="HEAD"), method="HEAD")
    with begin(daemon) as wire:
        replace(movie, NEW)
        answers = Wire(daemon.address)
        eventually(lambda: answers.get("/movie.mp4").body == NEW, "the new version is served")
        assert answers.get("/movie.mp4").field(b"etag") != old_tag.field(b"etag")
        answers.close()
        assert wire.read_exactly(SIZE) == OLD
        assert wire.get("/movie.mp4").body == NEW


def test_removed_during_a_response(daemon: Daemon, movie: Path) -> None:
    """The response ends well; then the object is gone."""
    with begin(daemon) as wire:
        movie.unlink()
        eventually(
            lambda: fetch(daemon.address, request("/movie.mp4")).status == 404, "the key is gone"
        )
        assert wire.read_exactly(SIZE) == OLD
        assert wire.get("/movie.mp4").status == 404


def test_truncated_during_a_response(daemon: Daemon, movie: Path) -> None:
    """The connection is cut, and counted: never padded, never silently short."""
    before = daemon.counters()["close_short_body"]
    with begin(daemon) as wire:
        os.truncate(movie, SIZE // 2)
        body = read_what_comes(wire)
    assert len(body) < SIZE
    assert OLD.startswith(body)
    eventually(lambda: daemon.counters()["close_short_body"] == before + 1, "it is counted")


def test_emptied_during_a_response(daemon: Daemon, movie: Path) -> None:
    """The same when nothing is left of it."""
    with begin(daemon) as wire:
        os.truncate(movie, 0)
        body = read_what_comes(wire)
    assert len(body) < SIZE
    assert OLD.startswith(body)


def test_overwritten_during_a_paused_response(daemon: Daemon, movie: Path) -> None:
    """Same file, same size, other bytes: what was begun is cut, and counted."""
    before = daemon.counters()["close_short_body"]
    with begin(daemon) as wire:
        movie.write_bytes(NEW)
        eventually(lambda: serves(daemon, NEW), "the new version")
        body = read_what_comes(wire)
    assert len(body) < SIZE
    eventually(lambda: daemon.counters()["close_short_body"] > before, "it is counted")


@pytest.mark.parametrize(
    "half", [slice(SIZE // 2), slice(SIZE // 2, None)], ids=["first", "second"]
)
def test_overwritten_during_a_fast_response(daemon: Daemon, movie: Path, half: slice) -> None:
    """A client that reads on at once gets a whole version or a cut answer, never a mixture."""
    with begin(daemon) as wire:
        with movie.open("rb+") as file:
            file.seek(half.start or 0)
            file.write(NEW[half])
        body = read_what_comes(wire)
    mixed = NEW[half] + OLD[SIZE // 2 :] if half.start is None else OLD[: SIZE // 2] + NEW[half]
    assert len(body) < SIZE or body in (OLD, mixed)


def test_replaced_again_and_again(daemon: Daemon, movie: Path) -> None:
    """Twenty versions while a client asks without end: each answer is one of them, whole."""
    versions = [bytes([65 + n]) * 300_000 for n in range(20)]
    replace(movie, versions[0])
    stop = threading.Event()

    def publish() -> None:
        for version in versions:
            replace(movie, version)
            stop.wait(0.1)
        stop.set()

    publishing = threading.Thread(target=publish)
    publishing.start()
    tags: dict[bytes, bytes] = {}
    with Wire(daemon.address) as wire:
        while not stop.is_set():
            answer = wire.get("/movie.mp4")
            assert answer.body in (*versions, OLD)
            tag = answer.field(b"etag") or b""
            assert tags.setdefault(tag, answer.body) == answer.body
    publishing.join()
    assert len(tags) > 2


def test_new_object_after_a_404(daemon: Daemon, store: Path) -> None:
    """A key that was asked for too early is found as soon as it is there."""
    assert fetch(daemon.address, request("/early.mp4")).status == 404
    write_object(store, "early.mp4", b"now")
    assert fetch(daemon.address, request("/early.mp4")).body == b"now"


# -- a store fails -------------------------------------------------------------------------------


@pytest.fixture
def failing(tmp_path: Path) -> Iterator[SlowStore]:
    """A store with two objects, on a disk that can be made to fail."""
    write_object(tmp_path, "below/movie.mp4", OLD)
    write_object(tmp_path, "below/other.mp4", NEW[:100_000])
    (tmp_path / "disk1").mkdir()
    with slow_store(tmp_path / "below", tmp_path / "disk1") as store:
        yield store


def test_read_error_during_a_response(failing: SlowStore, serve: Serve) -> None:
    """The answer is cut where the bytes end; all else, of the object too, is served."""
    failing.set_rules(Rule("read", "movie.mp4", error=errno.EIO, start=SIZE // 2))
    with serve(failing.path, workers=1) as running:
        assert fetch(running.address, request("/other.mp4")).status == 200
        with begin(running) as wire:
            body = read_what_comes(wire)
        assert len(body) <= SIZE // 2
        assert OLD.startswith(body)
        eventually(lambda: running.counters()["close_io_error"] == 1, "it is counted")
        assert fetch(running.address, request("/other.mp4")).body == NEW[:100_000]
        part = fetch(running.address, request("/movie.mp4", [("Range", "bytes=0-99999")]))
        assert part.body == OLD[:100_000]
        assert running.counters()["stores_failed"] == 0
        eventually(lambda: running.counters()["store_errors"], "the error is counted")
        failing.set_rules()
        assert fetch(running.address, request("/movie.mp4")).body == OLD


@pytest.mark.parametrize("operation", ["open", "read"])
def test_error_before_a_response(failing: SlowStore, serve: Serve, operation: str) -> None:
    """An object that cannot be opened or read at all is not promised, and not denied."""
    rule = Rule("open" if operation == "open" else "read", "*", error=errno.EIO)
    failing.set_rules(rule)
    with serve(failing.path, workers=1) as running:
        assert_not_now(fetch(running.address, request("/other.mp4")))
        eventually(lambda: running.counters()["stores_failed"] == 1, "the store is failed")
        assert_not_now(fetch(running.address, request("/other.mp4")))
        assert_not_now(fetch(running.address, request("/not_there.mp4")))
        assert running.counters()["lookup_misses"] == 0
        failing.set_rules()
        eventually(lambda: running.counters()["stores_failed"] == 0, "the store is back")
        assert fetch(running.address, request("/other.mp4")).body == NEW[:100_000]
        assert fetch(running.address, request("/not_there.mp4")).status == 404


def assert_not_now(answer: Response) -> None:
    """The object may be there, and can't be had now; no cache may keep that."""
    assert answer.status == 503
    assert int(answer.field(b"retry-after") or 0) > 0
    assert answer.field(b"cache-control") == b"no-store"


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, serve: Serve) -> Iterator[Odd]:
    """Served by one worker: an object for each operation and error, and some good ones."""
    below, mount = tmp_path_factory.mktemp("odd"), tmp_path_factory.mktemp("mount")
    for name in (*GOOD, *(f"{operation}-{name}" for operation, name in ODD)):
        write_object(below, name, NEW[: len(name) * 10_000])
    with slow_store(below, mount) as store, serve(mount, workers=1) as running:
        yield Odd(store, running)


@pytest.mark.parametrize(("operation", "name"), ODD)
def test_one_object_that_cannot_be_had(odd: Odd, operation: Operation, name: str) -> None:
    """Whatever error it gives, it takes no other along, and is back as soon as it can be had."""
    key = f"{operation}-{name}"
    odd.store.set_rules(Rule(operation, key, error=getattr(errno, name)))
    with Wire(odd.daemon.address) as wire:
        for good in GOOD:
            assert_not_now(wire.get(f"/{key}"))
            assert wire.get(f"/{good}").body == NEW[: len(good) * 10_000]
        assert wire.get("/not_there").status == 404, odd.daemon.log.read_text()
        odd.store.set_rules()
        assert wire.get(f"/{key}").body == NEW[: len(key) * 10_000]
    assert odd.daemon.counters()["stores_failed"] == 0, odd.daemon.log.read_text()


def test_another_store_takes_over(failing: SlowStore, serve: Serve, tmp_path: Path) -> None:
    """What another store has too is served from there."""
    write_object(tmp_path, "disk2/movie.mp4", OLD)
    write_object(tmp_path, "disk2/other.mp4", NEW[:100_000])
    failing.set_rules(Rule("open", "*", error=errno.EIO))
    with serve(failing.path, tmp_path / "disk2", workers=1) as running:
        with Wire(running.address) as wire:
            for _ in range(20):
                assert wire.get("/other.mp4").body == NEW[:100_000]
                assert wire.get("/movie.mp4").body == OLD
        eventually(lambda: running.counters()["stores_failed"] == 1, "the store is failed")


def test_short_store(failing: SlowStore, serve: Serve) -> None:
    """A disk that ends before the size it tells is a short body, not a whole one."""
    failing.set_rules(Rule("read", "movie.mp4", ends_at=SIZE // 2))
    with serve(failing.path, workers=1) as running:
        with begin(running) as wire:
            body = read_what_comes(wire)
        assert len(body) < SIZE
        eventually(lambda: running.counters()["close_short_body"] == 1, "it is counted")

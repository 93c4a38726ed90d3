"""An appliance's objects on a real connection: open and not, there and not, on one store or two."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ocaserve.protocol.admission import Admission
from ocaserve.protocol.elsewhere import Elsewhere
from ocaserve.serving.answerer import Answerer
from ocaserve.serving.counters import Count
from ocaserve.serving.engine import Engine
from ocaserve.serving.missing import MissingObjects
from ocaserve.serving.object_gate import ObjectGate
from ocaserve.serving.stored_content import StoredContent
from tests.support.catalogues import Bench, Make
from tests.support.engines import Host, HostFor


class Stage:
    """Two stores, and the engine before them."""

    def __init__(self, bench: Bench, host_for: HostFor, elsewhere: Elsewhere | None = None) -> None:
        self.errors: list[OSError] = []
        stock: Any = SimpleNamespace(catalogue=bench.catalogue, on_error=self.errors.append)

        def make(engine: Engine) -> Answerer:
            gate = ObjectGate(Admission(), engine.clock, engine.counts)
            policy, clock = engine.policy, engine.clock
            missing = MissingObjects(elsewhere, policy, clock, engine.counts)
            return StoredContent(stock, gate, policy, clock, missing, b"boundary", engine.counts)

        self.host: Host = host_for(make)


@pytest.fixture
async def bench(make: Make) -> Bench:
    return await make()


async def test_object_is_looked_up_once(bench: Bench, host_for: HostFor) -> None:
    """Then it is open: the second request goes the long way, the third the short."""
    host = Stage(bench, host_for).host
    guest = await host.connect()
    got = [await guest.ask("GET /a.mp4") for _ in range(3)]
    assert got[0][0] == 200
    assert got[0][2] == b"a" * 1000
    assert got[0] == got[1] == got[2]
    assert host.count(Count.LOOKUPS) == 1
    assert host.count(Count.REQUESTS) == len(host.lines) == 3
    assert len(set(host.lines)) == 1


async def test_object_that_is_nowhere(bench: Bench, host_for: HostFor) -> None:
    host = Stage(bench, host_for).host
    guest = await host.connect()
    assert (await guest.ask("GET /none.mp4"))[0] == 404
    assert (await guest.ask("GET /b.mp4"))[2] == b"b" * 1000
    assert host.count(Count.LOOKUP_MISSES) == 1


async def test_object_that_is_elsewhere(bench: Bench, host_for: HostFor) -> None:
    host = Stage(bench, host_for, Elsewhere("http://b.example/{key}")).host
    guest = await host.connect()
    status, fields, _ = await guest.ask("GET /none.mp4")
    assert (status, fields[b"location"]) == (307, b"http://b.example/none.mp4")
    assert host.count(Count.MISSES_REDIRECTED) == 1


async def test_copy_that_cannot_be_read_is_read_from_the_other_store(
    bench: Bench, folders: tuple[Path, Path], host_for: HostFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in folders:
        (folder / "both.mp4").write_bytes(b"c" * 1000)
    stage = Stage(bench, host_for)
    guest = await stage.host.connect()
    file = await bench.open(b"both.mp4")
    sender = stage.host.engine.outlets.sender
    sound, failing = type(sender).send, file.descriptor

    def send(of: Any, sock: Any, head: bytes, descriptor: int, offset: int, count: int) -> int:
        if descriptor == failing:
            raise OSError(errno.EIO, "Input/output error")
        return sound(of, sock, head, descriptor, offset, count)

    monkeypatch.setattr(type(sender), "send", send)
    status, _, body = await guest.ask("GET /both.mp4")
    assert (status, body) == (200, b"c" * 1000)
    assert bench.catalogue.io_errors == 1
    assert stage.host.count(Count.LOOKUPS) == 1


async def test_methods_and_bodies_that_are_not_served(bench: Bench, host_for: HostFor) -> None:
    host = Stage(bench, host_for).host
    for head, body, status in (
        ("POST /a.mp4", b"x", 405), ("GET /a.mp4", b"x", 400), ("OPTIONS /a.mp4", b"", 204),
    ):  # fmt: skip
        guest = await host.connect()
        assert (await guest.ask(head, body))[0] == status
    assert host.count(Count.BYTES_UPLOADED) == 0

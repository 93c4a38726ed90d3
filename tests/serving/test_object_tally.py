"""Which objects a worker tells, and how much of each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ocaserve.serving.object_tally import ObjectTally


def file(key: bytes, size: int) -> Any:
    return SimpleNamespace(key=key, sent=0, representation=SimpleNamespace(size=size))


def test_bytes_become_copies() -> None:
    """In millionths; what two versions of an object were sent counts together."""
    demand, old, new = ObjectTally(), file(b"a", 1000), file(b"a", 10)
    demand.note(old, 500)
    demand.note(old, 500)
    demand.note(new, 5)
    assert demand.take() == {"a": 1_500_000}
    assert demand.take() == {}
    demand.note(old, 1)
    assert demand.take() == {"a": 1000}


def test_what_could_not_be_told() -> None:
    """It is told with the next."""
    demand, one = ObjectTally(), file(b"a", 10)
    demand.note(one, 10)
    demand.put_back(demand.take())
    demand.note(one, 10)
    assert demand.take() == {"a": 2_000_000}


def test_nobody_asks() -> None:
    """Then nothing is kept, and no file is held."""
    demand, one = ObjectTally(), file(b"a", 10)
    demand.note(one, 10)
    demand.forget()
    assert not demand.touched
    demand.note(one, 5)
    assert demand.take() == {"a": 500_000}


def test_names_that_no_manifest_has() -> None:
    """They are left out, and the others are told."""
    demand = ObjectTally()
    demand.note(file(b"\xff", 10), 10)
    demand.note(file("ä".encode(), 10), 10)
    assert demand.take() == {"ä": 1_000_000}

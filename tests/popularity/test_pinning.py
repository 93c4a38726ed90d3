"""Which objects are locked in memory, and that they are."""

from __future__ import annotations

import os
import re
import resource
from pathlib import Path

import pytest

from ocaserve.popularity.pinning import Pinnable, Pins, choose

PAGE = resource.getpagesize()
MIB = 1 << 20


def locked_bytes() -> int:
    """What the kernel says of this process."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmLck:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("pinned", "chosen"),
    [
        ([], ["hot", "small"]),
        (["warm"], ["warm", "small"]),
        (["cold"], ["hot", "small"]),
    ],
)
def test_choice(pinned: list[str], chosen: list[str]) -> None:
    """The most wanted that fit; one that is locked stays until another is wanted clearly more."""
    candidates = [
        Pinnable("huge", 1000, 99.0),
        Pinnable("hot", 60, 10.0),
        Pinnable("warm", 60, 9.0),
        Pinnable("cold", 60, 1.0),
        Pinnable("small", 40, 0.5),
    ]
    assert choose(candidates, pinned, 100) == chosen


def test_files_are_locked_and_let_go(tmp_path: Path) -> None:
    """With the kernel: what is wanted is locked, what is replaced or gone is not any more."""
    store = tmp_path / "disk"
    store.mkdir()
    before = locked_bytes()
    (store / "a").write_bytes(b"a" * MIB)
    (store / "b").write_bytes(b"b" * (PAGE + 1))
    (tmp_path / "secret").write_bytes(b"s" * PAGE)
    (store / "link").symlink_to("../secret")
    pins = Pins([store], 2 * MIB)
    pins.adjust({"a": 2.0, "b": 1.0, "link": 3.0, "none": 9.0, "../secret": 1.0}, lambda: True)
    assert pins.keys == {"a", "b"}
    assert locked_bytes() - before == pins.show().bytes == MIB + 2 * PAGE
    (tmp_path / "new").write_bytes(b"n" * 2 * MIB)
    (tmp_path / "new").rename(store / "a")
    (store / "b").unlink()
    pins.adjust({"a": 2.0, "b": 1.0}, lambda: True)
    assert locked_bytes() - before == pins.show().bytes == 2 * MIB
    pins.adjust({}, lambda: True)
    assert locked_bytes() == before


def test_less_room_than_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the system holds, and is told."""
    monkeypatch.setattr("ocaserve.popularity.pinning._may_lock_any", lambda: False)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (MIB, MIB))
    (tmp_path / "a").write_bytes(b"a" * 2 * MIB)
    (tmp_path / "b").write_bytes(b"b" * PAGE)
    pins = Pins([tmp_path], 4 * MIB)
    pins.adjust({"a": 2.0, "b": 1.0}, lambda: True)
    shown = pins.show()
    assert pins.keys == {"b"}
    assert shown.allowed == MIB
    assert shown.fault == f"the system lets {MIB} bytes be locked"
    pins.adjust({}, lambda: True)


def test_no_more_than_half_of_the_memory(tmp_path: Path) -> None:
    """Whatever is asked for; it is told."""
    (tmp_path / "a").write_bytes(b"a" * 2 * MIB)
    (tmp_path / "b").write_bytes(b"b" * MIB)
    pins = Pins([tmp_path], 4 * MIB, lockable_bytes=2 * MIB)
    pins.adjust({"a": 2.0, "b": 1.0}, lambda: True)
    shown = pins.show()
    assert shown.bytes == 2 * MIB
    assert shown.fault == f"{2 * MIB} bytes are locked at most: half of the memory"
    pins.adjust({}, lambda: True)


@pytest.mark.parametrize("is_told", [True, False], ids=["to_end", "by_the_clock"])
def test_locking_is_gone_on_with(tmp_path: Path, is_told: bool) -> None:
    """A round ends when it is told to, or has lasted; the next goes on at the same byte."""
    before = locked_bytes()
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode() * 20 * MIB)
    now = 100.0
    asked = iter([True, True, False])

    def goes_on() -> bool:
        nonlocal now
        now += 0.0 if is_told else 0.8
        return next(asked, False) if is_told else True

    pins = Pins([tmp_path], 40 * MIB, lambda: now)
    wanted = {"a": 2.0, "b": 1.0}
    assert not pins.adjust(wanted, goes_on)
    assert not pins.keys
    assert locked_bytes() - before == pins.show().bytes == 8 * MIB
    assert pins.adjust(wanted, lambda: True)
    assert pins.keys == {"a", "b"}
    assert locked_bytes() - before == pins.show().bytes == 40 * MIB
    pins.adjust({}, lambda: True)
    assert locked_bytes() == before


def test_what_is_begun_and_deleted_is_let_go_of(tmp_path: Path) -> None:
    """No round has to end for it."""
    before = locked_bytes()
    (tmp_path / "a").write_bytes(b"a" * 20 * MIB)
    pins = Pins([tmp_path], 40 * MIB)
    asked = iter([True, True, False])
    pins.adjust({"a": 2.0}, lambda: next(asked, False))
    assert locked_bytes() - before == 8 * MIB
    (tmp_path / "a").unlink()
    pins.adjust({"a": 2.0}, lambda: False)
    assert locked_bytes() == before


def test_an_object_that_cannot_be_read_whole(tmp_path: Path) -> None:
    """ENOMEM of the kernel: others are locked, and it is left alone for a while."""
    file = tmp_path / "a"
    file.write_bytes(b"a" * 20 * MIB)
    (tmp_path / "b").write_bytes(b"b" * PAGE)
    mtime_ns = file.stat().st_mtime_ns
    asked = iter(range(100))

    def cut_short() -> bool:
        """In the midst of it, as if the disk had a bad sector there."""
        if next(asked) == 2:
            os.truncate(file, 8 * MIB)
        return True

    now = 100.0
    pins = Pins([tmp_path], 40 * MIB, lambda: now)
    pins.adjust({"a": 2.0, "b": 1.0}, cut_short)
    assert pins.keys == {"b"}
    os.truncate(file, 20 * MIB)
    os.utime(file, ns=(mtime_ns, mtime_ns))
    now += 60
    pins.adjust({"a": 2.0, "b": 1.0}, lambda: True)
    assert pins.keys == {"b"}
    assert pins.show().fault.startswith("a: it cannot be read whole")
    now += 600
    pins.adjust({"a": 2.0, "b": 1.0}, lambda: True)
    assert pins.keys == {"a", "b"}
    assert not pins.show().fault
    pins.adjust({}, lambda: True)

"""What is kept in the file is what was known; what cannot be kept is tried again."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ocaserve.fleet.app import keep_now, recall
from ocaserve.fleet.keeping import (
    Keeper,
    Kept,
    KeptAppliance,
    decode_copy,
    encode_copy,
)
from ocaserve.fleet.kept_tables import decode_table, encode_table
from ocaserve.fleet.membership import FleetState
from ocaserve.fleet.pushed_documents import CapacityRow, Copy, HealthRow, PlaceRow
from ocaserve.fleet.tables import NO_ROUTES, Rank, Tables
from ocaserve.fleet.turn_up import TurnUp
from ocaserve.settings.fleet import Fleet, load_fleet
from tests.support.waiting import until

ROUTES = {
    "11.0.0.0/8": Rank(1, 0), "12.0.0.0/8": Rank(1, 0, True, 0.5), "2001:db8::/32": Rank(2, 7),
}  # fmt: skip
NOT_KEPT = Tables().change(NO_ROUTES, [("12.0.0.0/8", Rank(1 << 64, 0))])  # no 64 bits hold it


def copy_of(state: FleetState, name: str = "oca-1") -> Copy:
    return Copy(
        name, "lab", "s1", 7, state.tables.change(NO_ROUTES, ROUTES.items()),
        PlaceRow(urls=["http://oca-1"]),
        HealthRow(takes_traffic=True, state="serving"),
        CapacityRow(total_bits_per_s=1e9, free_bits_per_s=5e8), ("s0",),
    )  # fmt: skip


@pytest.fixture
def state() -> FleetState:
    return FleetState(load_fleet(None))


async def test_what_was_known_is_known(state: FleetState, tmp_path: Path) -> None:
    """With its age, so that who tries again after a minute is not silent before."""
    keeper, now = Keeper(tmp_path / "new" / "fleet.db"), time.monotonic()
    state.hear(copy_of(state), now)
    state.hear(copy_of(state, "oca-2"), now, 60.0)
    assert await keep_now(state, keeper) == ""
    other = FleetState(load_fleet(None))
    recall(other, keeper)
    known = {name: member.copy for name, member in other.members.items()}
    assert known.keys() == {"oca-1", "oca-2"}
    assert known["oca-1"].table is known["oca-2"].table
    assert dict(known["oca-1"].table.routes[4]) == dict(copy_of(state).table.routes[4])
    assert known["oca-1"].table.prefix_digest == copy_of(state).table.prefix_digest
    assert known["oca-1"].place.urls == ["http://oca-1"]
    assert (known["oca-1"].session, known["oca-1"].serial, known["oca-1"].ended) == (
        "s1",
        7,
        ("s0",),
    )
    ages = [time.monotonic() - other.members[name].heard_at for name in ("oca-1", "oca-2")]
    assert ages[1] - ages[0] == pytest.approx(30.0, abs=0.1)
    silent = FleetState(load_fleet(None))
    state.hear(copy_of(state, "oca-3"), now, 91.0)
    assert await keep_now(state, keeper) == ""
    recall(silent, keeper)
    assert silent.servers["oca-3"].fault.startswith("silent")
    assert (tmp_path / "new" / "fleet.db").stat().st_mode & 0o077 == 0


async def test_who_was_in_service_is(tmp_path: Path) -> None:
    """Also who was kept before there was a gate; who was not is not."""
    gated = Fleet(turn_up="checked", turn_up_contact=False)
    state, keeper = FleetState(gated), Keeper(tmp_path / "fleet.db")
    well = HealthRow(takes_traffic=True, state="serving", level="ok")
    state.hear(replace(copy_of(state), health=well), time.monotonic())
    state.hear(copy_of(state, "oca-2"), time.monotonic())
    assert await keep_now(state, keeper) == ""
    other = FleetState(gated)
    recall(other, keeper)
    known = {name: member.copy.turn_up for name, member in other.members.items()}
    assert known == {"oca-1": TurnUp.IN_SERVICE, "oca-2": TurnUp.COMMISSIONING}
    old = msgspec.msgpack.decode(encode_copy(copy_of(state)))
    del old["turn_up"]
    copy = decode_copy("oca-1", NO_ROUTES, msgspec.msgpack.encode(old))
    assert copy.turn_up is TurnUp.IN_SERVICE


async def test_nobody_was_silent_while_nobody_listened(
    state: FleetState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten minutes without a control plane its appliances are as young as they were."""
    keeper, now = Keeper(tmp_path / "fleet.db"), time.monotonic()
    state.hear(copy_of(state), now, 7.0)
    await keep_now(state, keeper)
    later = time.time() + 600
    monkeypatch.setattr("ocaserve.fleet.app.time.time", lambda: later)
    other = FleetState(load_fleet(None))
    recall(other, keeper)
    assert time.monotonic() - other.members["oca-1"].heard_at == pytest.approx(7.0, abs=1.0)


@pytest.mark.parametrize("url", ["http://[a", "http://a:99999"])
async def test_a_place_that_cannot_be(
    state: FleetState, tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    """It keeps neither the others nor the control plane from beginning."""
    kept = [
        KeptAppliance(replace(copy_of(state, name), place=PlaceRow(urls=[base])), time.time())
        for name, base in (("oca-1", url), ("oca-2", "http://oca-2"))
    ]
    keeper = Keeper(tmp_path / "fleet.db")
    keeper.save(Kept(kept, []), [])
    recall(state, keeper)
    assert state.members.keys() == state.signers.keys() == {"oca-2"}
    assert "'oca-1': place.urls[0]" in caplog.text


def test_a_table_is_what_it_was(state: FleetState) -> None:
    """With networks of both families, and marks; equal ones are one object."""
    table = state.tables.change(NO_ROUTES, ROUTES.items())
    assert decode_table(encode_table(table), state.tables) is table
    again = decode_table(encode_table(table), Tables())
    assert (again.digest, again.prefix_digest) == (table.digest, table.prefix_digest)
    assert again.routes == table.routes
    nothing = decode_table(encode_table(NO_ROUTES), Tables())
    assert (nothing.digest, len(nothing)) == (0, 0)


def test_a_table_that_does_not_fit_itself(state: FleetState) -> None:
    plain = zlib.decompress(encode_table(state.tables.change(NO_ROUTES, ROUTES.items())))
    parts = msgspec.msgpack.decode(plain, strict=False)
    parts[2] = parts[2][:1]  # fewer ranks than networks name
    with pytest.raises(ValueError, match="IPv4 do not fit"):
        decode_table(zlib.compress(msgspec.msgpack.encode(parts)), Tables())


async def test_what_was_forgotten_is_gone(state: FleetState, tmp_path: Path) -> None:
    """An appliance that no setting names and that was silent for a day, and its table."""
    keeper, now = Keeper(tmp_path / "fleet.db"), time.monotonic()
    state.hear(copy_of(state), now)
    await keep_now(state, keeper)
    state.look(now + 100_000, list(state.members))
    assert not state.members
    await keep_now(state, keeper)
    assert keeper.load(state.tables).appliances == []


async def test_what_cannot_be_kept_is_tried_again(state: FleetState, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    state.hear(copy_of(state), time.monotonic())
    assert "file" in await keep_now(state, Keeper(tmp_path / "file" / "fleet.db"))
    assert state.dirty == {"oca-1"}
    keeper = Keeper(tmp_path / "fleet.db")
    assert await keep_now(state, keeper) == ""
    assert len(keeper.load(state.tables).appliances) == 1


async def test_one_that_cannot_be_written(state: FleetState, tmp_path: Path) -> None:
    """It takes no other along; it is counted, and others are kept after it."""
    keeper, now = Keeper(tmp_path / "fleet.db"), time.monotonic()
    state.hear(replace(copy_of(state), table=NOT_KEPT), now)
    state.hear(copy_of(state, "oca-2"), now)
    assert await keep_now(state, keeper) == ""
    assert [each.copy.appliance for each in keeper.load(state.tables).appliances] == ["oca-2"]
    assert state.defects.counts == {"keeping": 1}


def test_a_file_that_cannot_be_opened_stays(
    state: FleetState, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not damaged for that."""
    (tmp_path / "fleet.db").mkdir()
    with caplog.at_level(logging.ERROR):
        recall(state, Keeper(tmp_path / "fleet.db"))
    assert "begins without what was kept" in caplog.text
    assert (tmp_path / "fleet.db").is_dir()


async def test_a_restart_begins_with_the_atlas_of_before(tmp_path: Path) -> None:
    """Until another is drawn; a damaged one, and one that lacks many, is none."""
    keeper, now = Keeper(tmp_path / "fleet.db"), time.monotonic()
    state = FleetState(load_fleet(None))
    for name in ("oca-1", "oca-2"):
        state.hear(copy_of(state, name), now)
    drawing = asyncio.create_task(state.keep_atlas())
    await until(lambda: len(state.atlas) > 0)
    drawing.cancel()
    assert await keep_now(state, keeper) == ""
    file = tmp_path / "fleet-atlas"
    assert file.stat().st_mode & 0o077 == 0
    stamp = file.stat().st_mtime_ns
    other = begin_again(keeper)
    assert len(other.atlas) == 3
    assert other.rank(4, 11 << 24, None).groups
    assert await keep_now(other, keeper, is_last=True) == ""
    assert file.stat().st_mtime_ns == stamp, "it was not drawn here"
    state.hear(copy_of(state, "oca-3"), now)
    assert await keep_now(state, keeper) == ""
    assert len(begin_again(keeper).atlas) == 0, "oca-3 would be told of to nobody"
    file.write_bytes(b"x" * 100)
    assert len(begin_again(keeper).atlas) == 0


def begin_again(keeper: Keeper) -> FleetState:
    state = FleetState(load_fleet(None))
    recall(state, keeper)
    return state

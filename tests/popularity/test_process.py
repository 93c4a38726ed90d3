"""What the process does each time it looks."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from ocaserve.ledger.spool import SpoolWriter, count_spools
from ocaserve.popularity.demand_sums import COPY
from ocaserve.popularity.process import Watching, read_shown
from ocaserve.runtime import DEMAND
from ocaserve.settings import Settings


def settings_of(state: Path, store: Path, pinned_bytes: int = 1 << 20) -> Settings:
    return msgspec.convert(
        {
            "appliance": {"state_directory": str(state)},
            "serve": {"pinned_bytes": pinned_bytes},
            "store": [{"path": str(store)}],
        },
        Settings,
    )


def test_where_nothing_can_be_written_pins_are_let_go_of(tmp_path: Path) -> None:
    """A deleted object is not held, and what is so is shown; spools wait until they are noted."""
    state, run, store = tmp_path / "state", tmp_path / "run", tmp_path / "disk"
    for folder in (state, run, store):
        folder.mkdir()
    (store / "a").write_bytes(b"a" * 5000)
    settings = settings_of(state, store)
    now = 100.0
    watching = Watching(settings, run, lambda: now)
    spool = SpoolWriter(run / DEMAND, "1", 1 << 20)
    spool.append(1, {"a": 2 * COPY})
    watching.look(lambda: True)
    shown = read_shown(run)
    assert shown is not None
    assert shown.pinned.objects == 1
    shutil.rmtree(state)
    (store / "a").unlink()
    spool.append(2, {"b": 2 * COPY})
    spool.close()
    for _ in range(2):
        now += 60
        watching.look(lambda: True)
    shown = read_shown(run)
    assert shown is not None
    assert (shown.objects, shown.pinned.objects) == (2, 0)
    assert count_spools(run / DEMAND) == 1
    state.mkdir()
    now += 60
    watching.look(lambda: True)
    assert count_spools(run / DEMAND) == 0


def test_it_knows_the_memory_of_the_machine(tmp_path: Path) -> None:
    """More than there is, is not locked."""
    settings = settings_of(tmp_path, tmp_path, pinned_bytes=1 << 44)
    assert "half of the memory" in Watching(settings, tmp_path).show().pinned.fault


def test_what_there_was_no_time_to_pin_comes_next(tmp_path: Path) -> None:
    """With the next look, and no later."""
    (tmp_path / "a").write_bytes(b"a" * 5000)
    watching = Watching(settings_of(tmp_path, tmp_path), tmp_path, lambda: 100.0)
    spool = SpoolWriter(tmp_path / DEMAND, "1", 1 << 20)
    spool.append(1, {"a": 2 * COPY})
    spool.close()
    watching.look(lambda: False)
    assert watching.show().pinned.objects == 0
    watching.look(lambda: True)
    assert watching.show().pinned.objects == 1

"""The order of the samples, and what happens when one fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import runner
from benchmarks.errors import LoadFailure
from benchmarks.loads.base import Load, Outcome, Traits
from benchmarks.peers import Peer
from benchmarks.processes import Cores
from benchmarks.results import Bar
from benchmarks.scenarios import Scenario
from benchmarks.stage import FULL, QUICK, Stage
from benchmarks.store import create_store

ALL = ("ocaserve", "nginx", "nginx-aio", "aiohttp")


@dataclass(frozen=True)
class Played(Load):
    """Measures nothing; nginx never answers."""

    traits = Traits(figures=("requests_per_s",))

    def measure(self, stage: Stage, peer: Peer, turn: int) -> Outcome:
        if peer.name == "nginx":
            raise LoadFailure("did not come up")
        return Outcome({"requests_per_s": float(turn)})


@dataclass(frozen=True)
class Limited(Played):
    """Needs what no machine can limit."""

    traits = Traits(figures=(), resource="memory")


def scenario_of(load: Load) -> Scenario:
    return Scenario("64k", "64 KiB", "hot", load, ALL)


BARS = [Bar("64k", "requests_per_s", "≥", 5.0, against="aiohttp"), Bar("1k", "x", "≤", 1.0)]


def test_servers_that_a_bar_compares_play_all_rounds_and_neighbours_change_sides() -> None:
    order = list(runner.turns(scenario_of(Played()), QUICK, BARS))
    assert order == [
        (0, "ocaserve"), (0, "nginx"), (0, "aiohttp"),
        (1, "aiohttp"), (1, "nginx"), (1, "ocaserve"),
    ]  # fmt: skip


def test_the_full_plan_gives_the_others_fewer_rounds() -> None:
    order = list(runner.turns(scenario_of(Played()), FULL, BARS))
    rounds = {peer: sum(name == peer for _, name in order) for peer in ALL}
    assert rounds == {"ocaserve": 5, "nginx": 5, "nginx-aio": 2, "aiohttp": 5}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    store = create_store(tmp_path / "store", 1, 1024 * 1024)
    return Stage(QUICK, store, tmp_path, Cores(0, 0), 18_480)


def test_a_sample_that_fails_is_told_and_the_run_goes_on(stage: Stage) -> None:
    told: list[str] = []
    results = runner.play([scenario_of(Played())], BARS, stage, lambda what, _: told.append(what))
    assert results.errors() == [f"64k, nginx, round {turn}: did not come up" for turn in (1, 2)]
    assert results.values("64k", "ocaserve", "requests_per_s") == [0.0, 1.0]
    assert told[0] == "64k, round 1, ocaserve"


def test_a_scenario_that_the_machine_cannot_limit_is_not_measured(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "why_not", lambda resource: f"no control group governs {resource}")
    results = runner.play([scenario_of(Limited())], BARS, stage, lambda what, seconds: None)
    assert results.skipped == {"64k": "no control group governs memory"}
    assert results.samples == []

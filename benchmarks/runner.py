"""The order of a run: scenario by scenario, round by round, server by server.

In a round the servers follow each other closely, so that they share the machine's moods; every
second round goes backwards, so that none of them always has the better place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from benchmarks.cgroups import why_not
from benchmarks.errors import LoadFailure
from benchmarks.peers import PEERS
from benchmarks.results import Bar, Results, Sample
from benchmarks.scenarios import Scenario
from benchmarks.stage import Plan, Stage

Progress = Callable[[str, float], None]
"""Told what is measured next, and about how many seconds of measuring that takes."""


def compared(scenario: Scenario, bars: Iterable[Bar]) -> frozenset[str]:
    """The servers whose figures a bar needs; they play all rounds, the others give the scale."""
    mine = [bar for bar in bars if bar.scenario == scenario.name]
    others = [bar.against for bar in mine] + [bar.if_reached_by for bar in mine]
    others += [bar.of for bar in mine]
    return frozenset({"ocaserve", "nginx", *filter(None, others)})


def rounds_of(scenario: Scenario, peer: str, plan: Plan, bars: Iterable[Bar]) -> int:
    """How many samples are taken of a server."""
    rounds = plan.rounds if peer in compared(scenario, bars) else plan.rounds_of_others
    return min(rounds, plan.rounds_of_long) if scenario.load.traits.is_long else rounds


def turns(scenario: Scenario, plan: Plan, bars: Iterable[Bar]) -> Iterator[tuple[int, str]]:
    """The samples of a scenario in their order: (round, server)."""
    asked = list(bars)
    rounds = {peer: rounds_of(scenario, peer, plan, asked) for peer in scenario.peers}
    for turn in range(max(rounds.values())):
        order = scenario.peers if turn % 2 == 0 else scenario.peers[::-1]
        yield from ((turn, peer) for peer in order if turn < rounds[peer])


def seconds_of(scenario: Scenario, plan: Plan, bars: Iterable[Bar]) -> float:
    """About how long a scenario measures; starting and warming come on top."""
    return len(list(turns(scenario, plan, bars))) * scenario.load.seconds(plan)


def play(
    scenarios: Iterable[Scenario], bars: Iterable[Bar], stage: Stage, progress: Progress
) -> Results:
    """Play all scenarios. What fails is in the results, in words, and does not end the run."""
    asked = list(bars)
    results = Results()
    for scenario in scenarios:
        resource = scenario.load.traits.resource
        reason = why_not(resource) if resource is not None else None
        if reason is not None:
            results.skipped[scenario.name] = reason
            progress(scenario.name, seconds_of(scenario, stage.plan, asked))
        else:
            _play_one(scenario, asked, stage, results, progress)
    return results


def _play_one(
    scenario: Scenario, bars: list[Bar], stage: Stage, results: Results, progress: Progress
) -> None:
    seconds = scenario.load.seconds(stage.plan)
    try:
        with scenario.load.prepared(stage):
            for turn, peer in turns(scenario, stage.plan, bars):
                progress(f"{scenario.name}, round {turn + 1}, {peer}", seconds)
                results.samples.append(_sample(scenario, peer, stage, turn))
    finally:
        stage.end_scenario()


def _sample(scenario: Scenario, peer: str, stage: Stage, turn: int) -> Sample:
    try:
        figures, errors = scenario.load.measure(stage, PEERS[peer], turn)
    except LoadFailure as failure:
        figures, errors = {}, (str(failure),)
    return Sample(scenario.name, peer, turn, figures, errors)

"""Producers, consumers and servers die, and no message is lost: the trial, small."""

from __future__ import annotations

import pytest

from tests.queue.trial import arguments, try_engine


@pytest.mark.scenario
@pytest.mark.timeout(180)
@pytest.mark.parametrize("kind", ["sqlite", "valkey"])
def test_deaths(kind: str) -> None:
    """What was confirmed is delivered, acked once, never early, the most urgent first."""
    small = ("--messages", "6000", "--producers", "3", "--consumers", "3", "--kill-every", "0.5")
    found = try_engine(kind, arguments(kind, *small))
    assert found["pushed"] == 6_000
    assert found["kills"].keys() & {"producer", "consumer"}
    assert (found["lost"], found["acked_twice"], found["early"], found["unsorted_pops"]) == (
        0,
        0,
        0,
        0,
    )

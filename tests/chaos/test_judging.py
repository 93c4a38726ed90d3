"""What explains a failed request, and in which order faults come."""

from __future__ import annotations

import itertools
import random

import pytest

from tests.chaos.clients import Failure
from tests.chaos.faults import FAULTS
from tests.chaos.judging import BACK_S, Episode, Excuse, find_unexplained
from tests.chaos.trial import plan

CUT = Excuse(frozenset({"cut"}), "frail/*")


def failure(begun: float, ended: float, *, key: str = "frail/x", kind: str = "cut") -> Failure:
    return Failure(key, begun, ended, kind, "")  # type: ignore[arg-type] # a word of Kind


@pytest.mark.parametrize(
    ("failed", "is_explained"),
    [
        pytest.param(failure(101, 102), True, id="while_it_is_on"),
        pytest.param(failure(99, 101), True, id="begun_before"),
        pytest.param(failure(90, 99), False, id="over_before"),
        pytest.param(failure(106, 120), True, id="until_all_is_back"),
        pytest.param(failure(108, 120), False, id="later"),
        pytest.param(failure(101, 102, kind="404"), False, id="of_another_kind"),
        pytest.param(failure(101, 102, key="solid/x"), False, id="of_another_store"),
    ],
)
def test_explained(failed: Failure, is_explained: bool) -> None:
    """By a fault that was on, and does such a thing to such objects."""
    episode = Episode(("x",), (Excuse(), CUT), begun=100, lifted=105, back_s=2)
    assert find_unexplained([failed], [episode]) == ([] if is_explained else [failed])
    assert episode.explained == ([failed] if is_explained else [])


def test_what_does_not_come_back_is_explained_no_longer_than_it_may_take() -> None:
    """However long it took, or still takes."""
    episode = Episode(("x",), (CUT,), begun=100, lifted=105)
    assert find_unexplained([failure(105 + BACK_S, 130)], [episode]) == []
    assert find_unexplained([late := failure(106 + BACK_S, 130)], [episode]) == [late]


def test_wrong_bytes_are_never_explained() -> None:
    """Nor that what is there is not there, nor that nobody listens."""
    excused = {kind for each in FAULTS for kind in each.excuse.kinds}
    assert excused <= {"cut", "late", "503"}


def test_plan() -> None:
    """Each by itself first; then pairs, in another order for each seed, of what can be at once."""
    for seed in range(20):
        chosen = list(itertools.islice(plan(FAULTS, random.Random(seed)), len(FAULTS) + 50))
        alone, pairs = chosen[: len(FAULTS)], chosen[len(FAULTS) :]
        assert {each.name for (each,) in alone} == {each.name for each in FAULTS}
        for first, second in pairs:
            assert first.name != second.name
            assert not first.claims or first.claims != second.claims

"""Medians, paired ratios, and whether a bar is reached."""

from __future__ import annotations

import pytest

from benchmarks.results import Bar, Results, Sample, judge, percentile, with_those_not_asked

CPU = "cpu_us_per_request"


def results_of(*rows: tuple[str, int, float]) -> Results:
    """Samples of scenario "64k": (server, round, CPU per request)."""
    return Results([Sample("64k", peer, turn, {CPU: value}) for peer, turn, value in rows])


def test_servers_are_compared_round_by_round_and_not_by_their_medians() -> None:
    results = results_of(
        ("ocaserve", 0, 10), ("nginx", 0, 20),
        ("ocaserve", 1, 40), ("nginx", 1, 50),
        ("ocaserve", 2, 90), ("nginx", 2, 100),
    )  # fmt: skip
    assert results.ratios("64k", CPU, "nginx") == [0.5, 0.8, 0.9]
    assert judge(Bar("64k", CPU, "≤", 1.0), results).value == 0.8


def test_a_round_that_only_one_server_finished_has_no_ratio() -> None:
    results = results_of(("ocaserve", 0, 10), ("ocaserve", 1, 10), ("nginx", 1, 5))
    assert results.ratios("64k", CPU, "nginx") == [2.0]


def test_the_median_of_nothing_is_none() -> None:
    assert results_of().median("64k", "nginx", CPU) is None


@pytest.mark.parametrize(
    ("bar", "ours", "theirs", "outcome"),
    [
        pytest.param(Bar("64k", CPU, "≤", 1.0), 10, 10, "reached", id="at-most-at-it"),
        pytest.param(Bar("64k", CPU, "≤", 1.0), 10.04, 10, "reached", id="at-most-as-printed"),
        pytest.param(Bar("64k", CPU, "≤", 1.0), 10.2, 10, "**missed**", id="at-most-above-it"),
        pytest.param(Bar("64k", CPU, "≥", 0.8), 8, 10, "reached", id="at-least-at-it"),
        pytest.param(Bar("64k", CPU, "≥", 0.8), 7, 10, "**missed**", id="at-least-below-it"),
        pytest.param(Bar("64k", CPU, "≤", 12, None), 11, 1, "reached", id="absolute"),
        pytest.param(
            Bar("64k", CPU, "≤", 12, None, "nginx"), 13, 12, "**missed**", id="the-peer-does"
        ),
        pytest.param(
            Bar("64k", CPU, "≤", 12, None, "nginx"), 13, 13,
            "does not stand: nginx does not reach it either", id="the-peer-does-not",
        ),
    ],
)  # fmt: skip
def test_a_bar_is_reached_or_missed(bar: Bar, ours: float, theirs: float, outcome: str) -> None:
    results = results_of(("ocaserve", 0, ours), ("nginx", 0, theirs))
    assert judge(bar, results).outcome == outcome


def test_a_bar_without_samples_is_not_measured() -> None:
    verdict = judge(Bar("64k", CPU, "≤", 1.0), results_of())
    assert (verdict.value, verdict.outcome) == (None, "not measured")


def test_samples_with_errors_prove_nothing() -> None:
    results = results_of(("nginx", 0, 10))
    results.samples.append(Sample("64k", "ocaserve", 0, {CPU: 1.0}, ("wrk counted 3 read errors",)))
    assert judge(Bar("64k", CPU, "≤", 1.0), results).outcome == "**missed** (errors)"
    assert results.errors() == ["64k, ocaserve, round 1: wrk counted 3 read errors"]


def test_percentiles_are_values_that_were_seen() -> None:
    ordered = [float(value) for value in range(1, 101)]
    assert percentile(ordered, 0.5) == 51
    assert percentile(ordered, 0.99) == 100
    assert percentile([7.0], 0.99) == 7


def test_a_stall_counts_for_all_who_would_have_asked_during_it() -> None:
    assert with_those_not_asked([1.0, 4.0], 1.0) == [1.0, 1.0, 2.0, 3.0, 4.0]

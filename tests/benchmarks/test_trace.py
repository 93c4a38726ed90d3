"""Which ranges are asked for."""

from __future__ import annotations

from collections import Counter

from benchmarks.trace import Ask, render, uniform, zipf_beside_hot

KIB = 1024
KEYS = [f"title{number:02}.mp4" for number in range(8)]


def test_ranges_are_aligned_whole_and_inside_their_objects() -> None:
    for key, first, last in uniform(KEYS, 1000 * KIB, 64 * KIB, 500, seed=1):
        assert key in KEYS
        assert first % (64 * KIB) == 0
        assert last - first + 1 == 64 * KIB
        assert last < 1000 * KIB


def test_each_server_is_asked_the_same() -> None:
    asked = [list(uniform(KEYS, 1000 * KIB, 64 * KIB, 50, seed)) for seed in (1, 1, 2)]
    assert asked[0] == asked[1] != asked[2]


def test_nine_tenths_are_for_what_all_watch_and_the_rest_has_favourites() -> None:
    asks = list(zipf_beside_hot(KEYS, 2, 1024 * KIB, 64 * KIB, 5000, seed=3))
    hot = sum(ask.key in KEYS[:2] for ask in asks)
    assert 0.88 < hot / len(asks) < 0.92
    cold = Counter(ask for ask in asks if ask.key not in KEYS[:2]).most_common()
    assert len(cold) > 50
    assert cold[0][1] > 5 * cold[-1][1]


def test_a_trace_is_written_a_line_each() -> None:
    assert render([Ask("a.mp4", 0, 9), Ask("b.mp4", 10, 19)]) == "a.mp4 0 9\nb.mp4 10 19\n"

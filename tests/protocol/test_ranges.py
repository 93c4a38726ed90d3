"""The Range field: which parts of an object are sent."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.protocol.messages import ByteRange
from ocaserve.protocol.ranges import (
    IGNORED,
    MOST_RANGES,
    UNSATISFIABLE,
    content_range,
    parse_range,
    unsatisfied_range,
)

SIZE = 1000


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        pytest.param(b"bytes=0-0", [(0, 1)], id="first_byte"),
        pytest.param(b"bytes=0-1", [(0, 2)], id="probe_of_safari"),
        pytest.param(b"bytes=0-499", [(0, 500)], id="first_half"),
        pytest.param(b"bytes=500-999", [(500, 1000)], id="second_half"),
        pytest.param(b"bytes=999-999", [(999, 1000)], id="last_byte"),
        pytest.param(b"bytes=0-999", [(0, 1000)], id="all"),
        pytest.param(b"bytes=0-1000", [(0, 1000)], id="clamped_by_one"),
        pytest.param(b"bytes=999-5000", [(999, 1000)], id="clamped"),
        pytest.param(b"bytes=0-" + b"9" * 19, [(0, 1000)], id="clamped_from_19_digits"),
        pytest.param(b"bytes=0-" + b"9" * 5000, [(0, 1000)], id="clamped_from_5000_digits"),
        pytest.param(b"bytes=00-0099", [(0, 100)], id="leading_zeros"),
        pytest.param(b"bytes=%b5-%b9" % (b"0" * 50, b"0" * 50), [(5, 10)], id="many_zeros"),
        pytest.param(b"bytes=0-", [(0, 1000)], id="from_the_start"),
        pytest.param(b"bytes=999-", [(999, 1000)], id="from_the_last"),
        pytest.param(b"bytes=-1", [(999, 1000)], id="last_one"),
        pytest.param(b"bytes=-500", [(500, 1000)], id="last_half"),
        pytest.param(b"bytes=-1000", [(0, 1000)], id="suffix_of_all"),
        pytest.param(b"bytes=-5000", [(0, 1000)], id="suffix_beyond_all"),
        # CVE-2017-7529: nginx's sum of sizes ran over at such a suffix.
        pytest.param(b"bytes=-9223372036854775807", [(0, 1000)], id="suffix_of_19_digits"),
        pytest.param(b"bytes=-" + b"9" * 5000, [(0, 1000)], id="suffix_of_5000_digits"),
        pytest.param(b"bytes=0-1," + b"9" * 20 + b"-", [(0, 2)], id="one_of_20_digits_beyond"),
        pytest.param(b"BYTES=0-1", [(0, 2)], id="units_have_no_case"),
        pytest.param(b"bytes= 0-1", [(0, 2)], id="space_before"),
        pytest.param(b"bytes=0-1 \t", [(0, 2)], id="space_behind"),
        pytest.param(b"bytes=,0-1", [(0, 2)], id="empty_element_before"),
        pytest.param(b"bytes=0-1,", [(0, 2)], id="empty_element_behind"),
        pytest.param(b"bytes= , ,0-1 ,\t, ", [(0, 2)], id="many_empty_elements"),
        pytest.param(b"bytes=0-0,999-999", [(0, 1), (999, 1000)], id="two"),
        pytest.param(b"bytes=0-0 ,\t-1", [(0, 1), (999, 1000)], id="two_with_space"),
        pytest.param(b"bytes=0-1,4-5,8-9", [(0, 2), (4, 6), (8, 10)], id="three"),
        pytest.param(b"bytes=8-9,0-1", [(8, 10), (0, 2)], id="order_of_the_client"),
        pytest.param(b"bytes=0-9,5-14", [(0, 15)], id="overlap"),
        pytest.param(b"bytes=0-9,10-19", [(0, 20)], id="touching"),
        pytest.param(b"bytes=10-19,0-9", [(0, 20)], id="touching_in_other_order"),
        pytest.param(b"bytes=0-9,0-9", [(0, 10)], id="twice_the_same"),
        pytest.param(b"bytes=0-99,10-19", [(0, 100)], id="one_inside_the_other"),
        pytest.param(b"bytes=0-1,3-4,2-2", [(0, 5)], id="joined_by_the_last"),
        pytest.param(b"bytes=50-59,0-9,55-64", [(50, 65), (0, 10)], id="joined_stands_first"),
        pytest.param(b"bytes=50-59,0-9,40-49", [(40, 60), (0, 10)], id="joined_backwards"),
        pytest.param(b"bytes=0-1,2000-3000", [(0, 2)], id="one_beyond"),
        pytest.param(b"bytes=0-1,-0", [(0, 2)], id="one_empty_suffix"),
        pytest.param(
            b"bytes=" + b",".join(b"%d-%d" % (3 * n, 3 * n) for n in range(MOST_RANGES)),
            [(3 * n, 3 * n + 1) for n in range(MOST_RANGES)],
            id="most",
        ),
        pytest.param(b"bytes=0-599,600-999", [(0, 1000)], id="as_many_bytes_as_there_are"),
    ],
)
def test_accepted(value: bytes, parts: list[tuple[int, int]]) -> None:
    """Half-open positions within the object."""
    assert parse_range(value, SIZE) == tuple(ByteRange(*part) for part in parts)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        pytest.param(b"bytes=1000-1000", SIZE, id="behind_the_end"),
        pytest.param(b"bytes=1000-", SIZE, id="open_behind_the_end"),
        pytest.param(b"bytes=2000-1999999999999999999", SIZE, id="far_behind"),
        pytest.param(b"bytes=%b-" % (b"9" * 5000), SIZE, id="behind_every_file"),
        pytest.param(b"bytes=-0", SIZE, id="empty_suffix"),
        pytest.param(b"bytes=-" + b"0" * 50, SIZE, id="empty_suffix_of_50_digits"),
        pytest.param(b"bytes=1000-,2000-3000,-0", SIZE, id="several_and_none_fits"),
        pytest.param(b"bytes=0-0", 0, id="first_byte_of_nothing"),
        pytest.param(b"bytes=0-", 0, id="all_of_nothing"),
        pytest.param(b"bytes=-0", 0, id="empty_suffix_of_nothing"),
    ],
)
def test_unsatisfiable(value: bytes, size: int) -> None:
    """Well formed, and no byte of the object is meant."""
    assert parse_range(value, size) is UNSATISFIABLE


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"bytes", id="unit_alone"),
        pytest.param(b"bytes=", id="no_range"),
        pytest.param(b"bytes=,", id="empty_elements_alone"),
        pytest.param(b"bytes=-", id="dash_alone"),
        pytest.param(b"bytes=5", id="no_dash"),
        pytest.param(b"bytes=5-4", id="backwards"),
        pytest.param(b"bytes=0-1,5-4", id="backwards_in_a_list"),
        pytest.param(b"bytes=%b-5" % (b"9" * 50), id="backwards_from_50_digits"),
        pytest.param(b"bytes=5000-4000", id="backwards_behind_the_end"),
        pytest.param(b"bytes=a-b", id="letters"),
        pytest.param(b"bytes=0x0-0x1", id="hexadecimal"),
        pytest.param(b"bytes=0-1a", id="letter_behind"),
        pytest.param(b"bytes=--1", id="two_dashes"),
        pytest.param(b"bytes=0--1", id="negative_end"),
        pytest.param(b"bytes=-1-2", id="suffix_and_more"),
        pytest.param(b"bytes=+0-1", id="plus"),
        pytest.param(b"bytes=0_0-1", id="underscore"),
        pytest.param(b"bytes=0 -1", id="space_inside"),
        pytest.param(b"bytes=0- 1", id="space_behind_dash"),
        pytest.param(b"bytes =0-1", id="space_before_equals"),
        pytest.param(b" bytes=0-1", id="space_before_unit"),
        pytest.param(b"bytes:0-1", id="colon"),
        pytest.param(b"bytes=0-1;2-3", id="semicolon"),
        pytest.param(b"bytes=0-1 2-3", id="no_comma"),
        pytest.param(b"bytes=\xd9\xa0-\xd9\xa1", id="other_digits"),
        pytest.param(b"bytes=0-1\n", id="line_feed"),
        pytest.param(b"items=0-1", id="other_unit"),
        pytest.param(b"seconds=0-1", id="unit_of_seconds"),
        pytest.param(b"none", id="none"),
        # CVE-2011-3192, CVE-2025-62727: thousands of ranges that overlap.
        pytest.param(b"bytes=0-" + b",5-0" * 1300, id="apache_killer"),
        pytest.param(
            b"bytes=" + b",".join(b"%d-%d" % (n, n) for n in range(MOST_RANGES + 1)), id="too_many"
        ),
        pytest.param(b"bytes=" + b",".join([b"0-0"] * 1300), id="thousands_of_the_same"),
        pytest.param(b"bytes=0-,0-", id="all_twice"),
        pytest.param(b"bytes=0-599,500-999", id="more_bytes_than_there_are"),
        pytest.param(
            b"bytes=0-499,-9223372036854775807,-9223372036854774591", id="sum_of_huge_suffixes"
        ),
    ],
)
def test_ignored(value: bytes) -> None:
    """As if there were no Range: each player can use the whole object."""
    assert parse_range(value, SIZE) is IGNORED


@pytest.mark.parametrize("value", [b"bytes=-1", b"bytes=-00100", b"bytes=0-0, -1"])
def test_suffix_of_an_empty_object_is_ignored(value: bytes) -> None:
    """It is satisfiable, and the empty object is the answer."""
    assert parse_range(value, 0) is IGNORED


NUMBERS = st.one_of(st.integers(0, 60), st.integers(0, 10**25))
SPECS = st.one_of(
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: b"%d-%d" % (min(pair), max(pair))),
    st.tuples(NUMBERS, NUMBERS).map(lambda pair: b"%d-%d" % pair),
    NUMBERS.map(lambda first: b"%d-" % first),
    NUMBERS.map(lambda length: b"-%d" % length),
)
VALUES = st.lists(SPECS, min_size=1, max_size=20).map(lambda specs: b"bytes=" + b", ".join(specs))
SIZES = st.one_of(st.integers(0, 60), st.integers(0, 10**19))


def positions_of(value: bytes, size: int) -> list[set[int]]:
    """What each range-spec asks for, by the words of RFC 9110 section 14.1.2."""
    asked = []
    for spec in value.removeprefix(b"bytes=").split(b", "):
        first, _, last = spec.partition(b"-")
        start = int(first) if first else max(0, size - int(last))
        stop = int(last) + 1 if first and last else size
        asked.append(set(range(start, min(stop, size))))
    return asked


@given(VALUES, SIZES)
def test_parts_lie_within_the_object_and_apart(value: bytes, size: int) -> None:
    """Whatever is asked, nothing is sent twice, and nothing that is not there."""
    parts = parse_range(value, size)
    if not isinstance(parts, tuple):
        return
    assert parts
    assert all(0 <= part.start < part.stop <= size for part in parts)
    assert all(one.stop < other.start for one, other in pairwise(sorted(parts)))


@given(VALUES, st.integers(0, 80))
def test_parts_are_what_was_asked_in_the_order_of_asking(value: bytes, size: int) -> None:
    """Against the plain meaning: the union of all ranges, each part where it was asked first."""
    parts = parse_range(value, size)
    if not isinstance(parts, tuple):
        return
    sent = [set(range(part.start, part.stop)) for part in parts]
    asked = positions_of(value, size)
    assert set().union(*sent) == set().union(*asked)
    first_asked = [min(n for n, one in enumerate(asked) if one & part) for part in sent]
    assert first_asked == sorted(first_asked)


@given(st.binary(max_size=40), SIZES)
def test_any_bytes_have_a_verdict(value: bytes, size: int) -> None:
    """No value raises."""
    parse_range(b"bytes=" + value, size)
    parse_range(value, size)


@given(st.integers(0, 10**19), st.integers(1, 10**19), st.integers(0, 10**19))
def test_content_range_says_what_is_sent(start: int, length: int, more: int) -> None:
    """Inclusive on the wire, and a Range made from it means the same."""
    part = ByteRange(start, start + length)
    size = part.stop + more
    unit, _, rest = content_range(part, size).partition(b" ")
    span, _, total = rest.partition(b"/")
    first, _, last = span.partition(b"-")
    assert (unit, int(first), int(last), int(total)) == (b"bytes", start, part.stop - 1, size)


def test_unsatisfied_range() -> None:
    """It tells the client the size."""
    assert unsatisfied_range(SIZE) == b"bytes */1000"

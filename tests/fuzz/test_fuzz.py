"""A short run of each fuzzer, and the cost of hostile input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from time import thread_time

import pytest

from ocaserve.protocol.dates import parse_http_date
from ocaserve.protocol.etags import is_weak_match
from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.messages import RequestRefused
from ocaserve.protocol.ranges import parse_range
from ocaserve.protocol.target import ObjectTarget, parse_target
from tests.fuzz import fuzz_head, fuzz_ranges, fuzz_target
from tests.fuzz.driver import Check, fuzz, inputs


@pytest.mark.parametrize(
    ("name", "check", "tokens"),
    [
        pytest.param("head", fuzz_head.check, fuzz_head.TOKENS, id="head"),
        pytest.param("target", fuzz_target.check, fuzz_target.TOKENS, id="target"),
        pytest.param("ranges", fuzz_ranges.check, fuzz_ranges.TOKENS, id="ranges"),
    ],
)
def test_invariant_holds(name: str, check: Check, tokens: list[bytes]) -> None:
    """For the corpus and some thousands of mutations, the same on every run."""
    fuzz(name, check, tokens, 5_000)


def test_failing_input_is_told() -> None:
    """Whoever sees the failure can run it again."""

    def refuse(data: bytes) -> None:
        assert b"%" not in data

    with pytest.raises(AssertionError) as caught:
        fuzz("target", refuse, fuzz_target.TOKENS, 10)
    assert caught.value.__notes__[0].startswith("input: b'/")


def is_request(data: bytes) -> bool:
    meaning = fuzz_head.read(data, HeadParser())
    return isinstance(meaning, tuple) and len(meaning) > 2


def is_object(data: bytes) -> bool:
    return isinstance(fuzz_target.read(data), ObjectTarget)


def is_satisfiable(data: bytes) -> bool:
    return isinstance(parse_range(data, 1000), tuple)


@pytest.mark.parametrize(
    ("name", "tokens", "accepted"),
    [
        pytest.param("head", fuzz_head.TOKENS, is_request, id="head"),
        pytest.param("target", fuzz_target.TOKENS, is_object, id="target"),
        pytest.param("ranges", fuzz_ranges.TOKENS, is_satisfiable, id="ranges"),
    ],
)
def test_mutations_are_not_all_nonsense(
    name: str, tokens: list[bytes], accepted: Callable[[bytes], bool]
) -> None:
    """A fuzzer whose inputs are all refused at once tests one refusal."""
    verdicts = Counter(map(accepted, inputs(name, tokens, 1_000)))
    assert min(verdicts[True], verdicts[False]) > 50


# -- cost ----------------------------------------------------------------------------------------

_SHORT, _GROWTH = 4_096, 8


def read_head(data: bytes) -> None:
    parser = HeadParser(head_bytes=1 << 24, header_count=1 << 24, target_bytes=1 << 24)
    end = parser.maybe_head_end(data)
    if end is not None:
        parser.parse(data[:end])


def read_range(data: bytes) -> None:
    parse_range(data, 1000)


def read_tags(data: bytes) -> None:
    is_weak_match(data, b'"a"')


def read_date(data: bytes) -> None:
    parse_http_date(data)


def seconds(call: Callable[[bytes], object], data: bytes) -> float:
    """Of this thread's own work; the least of a few, because others use the processor too."""
    taken = []
    for _ in range(7):
        begun = thread_time()
        with suppress(RequestRefused):
            call(data)
        taken.append(thread_time() - begun)
    return min(taken)


LINE = b"GET /k HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("call", "before", "repeated", "behind"),
    [
        pytest.param(read_head, b"", b"\r\n", b"x", id="head_of_empty_lines"),
        pytest.param(read_head, b"", b"G", b"", id="method_without_end"),
        pytest.param(read_head, b"GET ", b"/", b"", id="target_without_end"),
        pytest.param(read_head, b"", b" ", b"\r\n\r\n", id="line_of_spaces"),
        pytest.param(read_head, b"GET http://", b"a", b"@/ HTTP/1.1\r\n\r\n", id="authority"),
        pytest.param(read_head, LINE, b"X: a\r\n", b"\r\n", id="many_fields"),
        pytest.param(read_head, LINE, b"X: a\r\n", b"", id="many_fields_without_end"),
        pytest.param(read_head, LINE + b"X:", b" ", b"\0\r\n\r\n", id="value_of_spaces"),
        pytest.param(read_head, LINE, b"Range: x\r\n", b"\r\n", id="many_ranges"),
        pytest.param(read_head, LINE, b"\r\nRange: 0-", b"\r\n\r\n", id="range_without_end"),
        pytest.param(read_head, LINE + b"Connection:", b" ,", b"\r\n\r\n", id="empty_options"),
        pytest.param(
            read_head, b"GET / HTTP/1.1\r\nHost: ", b"a.", b"@\r\n\r\n", id="host_nearly_right"
        ),
        pytest.param(read_head, LINE + b"Content-Length: ", b"1", b"\r\n\r\n", id="long_length"),
        pytest.param(parse_target, b"/", b"%", b"", id="escapes_cut"),
        pytest.param(parse_target, b"/", b"%41", b"%", id="escapes"),
        pytest.param(parse_target, b"/", b"a/", b"..", id="segments"),
        pytest.param(parse_target, b"/", b"a", b"\\", id="target_nearly_plain"),
        pytest.param(read_range, b"bytes=", b" ", b"x", id="range_of_spaces"),
        pytest.param(read_range, b"bytes=", b",", b"x", id="range_of_commas"),
        pytest.param(read_range, b"bytes=", b" ,", b"x", id="range_of_spaces_and_commas"),
        pytest.param(read_range, b"bytes=0-1", b" ,\t", b"x", id="empty_elements_behind"),
        pytest.param(read_range, b"bytes=0-", b",0-", b"x", id="list_nearly_right"),
        pytest.param(read_range, b"bytes=", b"0-0,", b"0-0", id="list"),
        pytest.param(read_range, b"bytes=", b"1", b"-", id="long_number"),
        pytest.param(read_range, b"bytes=-", b"1", b"", id="long_suffix"),
        pytest.param(read_range, b"bytes=0-", b"1", b"", id="long_last"),
        pytest.param(read_tags, b"", b" ", b"x", id="tags_of_spaces"),
        pytest.param(read_tags, b"", b" ,", b"x", id="tags_of_commas"),
        pytest.param(read_tags, b'"', b"a", b"", id="tag_without_end"),
        pytest.param(read_tags, b"", b'"a",', b"x", id="many_tags"),
        pytest.param(read_tags, b'"a"', b" ", b"x", id="tag_and_spaces"),
        pytest.param(read_date, b"Sun, ", b"0", b"", id="date"),
    ],
)  # fmt: skip
def test_cost_grows_no_faster_than_the_input(
    call: Callable[[bytes], object], before: bytes, repeated: bytes, behind: bytes
) -> None:
    """Eight times the input: about eight times the work, where a square would be 64 times.

    A microsecond is granted beside, which is what a call costs that looks at nothing.
    """
    short, long = (
        seconds(call, before + repeated * (length // len(repeated)) + behind)
        for length in (_SHORT, _SHORT * _GROWTH)
    )
    assert long < 3 * _GROWTH * (short + 1e-6)

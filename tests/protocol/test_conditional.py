"""Preconditions, in the order of RFC 9110 section 13.2.2."""

from __future__ import annotations

from typing import Any

import pytest

from ocaserve.protocol.conditional import (
    PreconditionVerdict,
    check_if_range,
    evaluate_preconditions,
)
from ocaserve.protocol.dates import format_http_date
from ocaserve.protocol.messages import Fields, Representation

MODIFIED = 1_700_000_000
NOW = MODIFIED + 1_000_000
ETAG = b'"a"'
OBJECT = Representation(1000, ETAG, MODIFIED, b"video/mp4", b"", b"")

SAME = format_http_date(MODIFIED)
BEFORE = format_http_date(MODIFIED - 1)
AFTER = format_http_date(MODIFIED + 1)
NO_DATE = b"yesterday"

PROCEED, NOT_MODIFIED, FAILED = (
    PreconditionVerdict.PROCEED,
    PreconditionVerdict.NOT_MODIFIED,
    PreconditionVerdict.FAILED,
)


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        pytest.param({}, PROCEED, id="none"),
        pytest.param({"if_match": ETAG}, PROCEED, id="match"),
        pytest.param({"if_match": b"*"}, PROCEED, id="match_any"),
        pytest.param({"if_match": b'"b", "a"'}, PROCEED, id="match_listed"),
        pytest.param({"if_match": b'"b"'}, FAILED, id="match_other"),
        pytest.param({"if_match": b'W/"a"'}, FAILED, id="match_is_strong"),
        pytest.param({"if_match": b""}, FAILED, id="match_nothing"),
        pytest.param({"if_unmodified_since": SAME}, PROCEED, id="unmodified_same"),
        pytest.param({"if_unmodified_since": AFTER}, PROCEED, id="unmodified_later"),
        pytest.param({"if_unmodified_since": BEFORE}, FAILED, id="unmodified_earlier"),
        pytest.param({"if_unmodified_since": NO_DATE}, PROCEED, id="unmodified_no_date"),
        pytest.param(
            {"if_match": ETAG, "if_unmodified_since": BEFORE}, PROCEED, id="match_over_unmodified"
        ),
        pytest.param(
            {"if_match": b'"b"', "if_unmodified_since": AFTER}, FAILED, id="match_fails_over_date"
        ),
        pytest.param({"if_none_match": ETAG}, NOT_MODIFIED, id="none_match"),
        pytest.param({"if_none_match": b"*"}, NOT_MODIFIED, id="none_match_any"),
        pytest.param({"if_none_match": b'"b", W/"a"'}, NOT_MODIFIED, id="none_match_is_weak"),
        pytest.param({"if_none_match": b'"b"'}, PROCEED, id="none_match_other"),
        pytest.param({"if_none_match": b""}, PROCEED, id="none_match_nothing"),
        pytest.param({"if_modified_since": SAME}, NOT_MODIFIED, id="modified_same"),
        pytest.param({"if_modified_since": AFTER}, NOT_MODIFIED, id="modified_later"),
        pytest.param({"if_modified_since": BEFORE}, PROCEED, id="modified_earlier"),
        pytest.param({"if_modified_since": NO_DATE}, PROCEED, id="modified_no_date"),
        pytest.param(
            {"if_none_match": b'"b"', "if_modified_since": SAME}, PROCEED, id="none_match_over_date"
        ),
        pytest.param(
            {"if_none_match": ETAG, "if_modified_since": BEFORE},
            NOT_MODIFIED,
            id="none_match_matches_over_date",
        ),
        pytest.param(
            {"if_match": b'"b"', "if_none_match": ETAG}, FAILED, id="412_comes_before_304"
        ),
        pytest.param(
            {"if_match": ETAG, "if_none_match": ETAG}, NOT_MODIFIED, id="304_when_412_is_passed"
        ),
        pytest.param(
            {"if_unmodified_since": BEFORE, "if_modified_since": SAME}, FAILED, id="dates_412_first"
        ),
        pytest.param(
            {"if_unmodified_since": SAME, "if_none_match": ETAG}, NOT_MODIFIED, id="date_then_tag"
        ),
    ],
)
def test_preconditions(fields: dict[str, Any], verdict: PreconditionVerdict) -> None:
    """If-Match, else If-Unmodified-Since; then If-None-Match, else If-Modified-Since."""
    assert evaluate_preconditions(Fields(**fields), OBJECT, NOW) is verdict


@pytest.mark.parametrize(
    ("value", "now", "counts"),
    [
        pytest.param(ETAG, NOW, True, id="tag"),
        pytest.param(b'"b"', NOW, False, id="other_tag"),
        pytest.param(b'W/"a"', NOW, False, id="weak_tag"),
        pytest.param(b'"a", "b"', NOW, False, id="list"),
        pytest.param(b"*", NOW, False, id="any"),
        pytest.param(b"a", NOW, False, id="tag_without_quotes"),
        pytest.param(SAME, NOW, True, id="date"),
        pytest.param(b"Tuesday, 14-Nov-23 22:13:20 GMT", NOW, True, id="date_in_another_form"),
        pytest.param(AFTER, NOW, False, id="later_date"),
        pytest.param(BEFORE, NOW, False, id="earlier_date"),
        pytest.param(NO_DATE, NOW, False, id="no_date"),
        pytest.param(b"", NOW, False, id="empty"),
        pytest.param(SAME, MODIFIED + 1, True, id="date_a_second_old"),
        pytest.param(SAME, MODIFIED, False, id="date_of_this_second_is_weak"),
        pytest.param(SAME, MODIFIED - 9, False, id="date_in_the_future_is_weak"),
    ],
)
def test_if_range(value: bytes, now: int, counts: bool) -> None:
    """A strong validator, exactly; otherwise the client's part may be of another object."""
    assert check_if_range(value, OBJECT, now) is counts

"""Conditional requests (RFC 9110 section 13): is the precondition true, does the range count."""

from __future__ import annotations

from enum import Enum

from ocaserve.protocol.dates import parse_http_date
from ocaserve.protocol.etags import ANY, is_strong_match, is_weak_match
from ocaserve.protocol.messages import Fields, Representation

_STRONG_AFTER_S = 1
"""A Last-Modified date is a strong validator only if it lies at least this long before the Date of
the response that carried it (RFC 9110 section 8.8.2.2): a file may change twice in one second."""


class PreconditionVerdict(Enum):
    """What becomes of a conditional GET or HEAD."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not modified"
    FAILED = "failed"


def evaluate_preconditions(
    fields: Fields, representation: Representation, now: int
) -> PreconditionVerdict:
    """The order of RFC 9110 section 13.2.2, steps 1 to 4. `now`: seconds since the epoch."""
    if fields.if_match is not None:
        if not check_if_match(fields.if_match, representation):
            return PreconditionVerdict.FAILED
    elif fields.if_unmodified_since is not None and not check_if_unmodified_since(
        fields.if_unmodified_since, representation, now
    ):
        return PreconditionVerdict.FAILED
    if fields.if_none_match is not None:
        if not check_if_none_match(fields.if_none_match, representation):
            return PreconditionVerdict.NOT_MODIFIED
    elif fields.if_modified_since is not None and not check_if_modified_since(
        fields.if_modified_since, representation, now
    ):
        return PreconditionVerdict.NOT_MODIFIED
    return PreconditionVerdict.PROCEED


def check_if_match(value: bytes, representation: Representation) -> bool:
    """Section 13.1.1: strong comparison."""
    return value == ANY or is_strong_match(value, representation.etag)


def check_if_none_match(value: bytes, representation: Representation) -> bool:
    """Section 13.1.2: weak comparison."""
    return value != ANY and not is_weak_match(value, representation.etag)


def check_if_modified_since(value: bytes, representation: Representation, now: int) -> bool:
    """Section 13.1.3: what is no date is ignored."""
    date = parse_http_date(value, now)
    return date is None or representation.last_modified > date


def check_if_unmodified_since(value: bytes, representation: Representation, now: int) -> bool:
    """Section 13.1.4: what is no date is ignored."""
    date = parse_http_date(value, now)
    return date is None or representation.last_modified <= date


def check_if_range(value: bytes, representation: Representation, now: int) -> bool:
    """Section 13.1.5: an exact match of a strong validator; all else ignores the range."""
    if value.startswith((b'"', b"W/")):
        return value == representation.etag  # which is strong, hence equal to no weak one
    date = parse_http_date(value, now)
    if date is None or date != representation.last_modified:
        return False
    return now - date >= _STRONG_AFTER_S

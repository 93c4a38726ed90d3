"""What an appliance and the fleet say to each other about records. Pure.

The appliance sends records, and is answered with what is there by then. So it needs to remember
nothing: it begins with an empty list, goes on after what is there, and sends again what is missing.
What it no longer has it cannot send: that stays a hole, for the fleet to show.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from ocaserve.ledger.records import BookName, LedgerRecord

MOST_RECORDS = 1_000
"""Of one push, and of one answer."""
MOST_HOLES = 100
"""Told in one watermark; further ones when these are closed."""
PUSH_BYTES = 16 << 20
"""Of one push, decompressed: more than a record of 100,000 networks has."""


class RecordPush(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Records of one book, in the order of their numbers. None: to ask what is there."""

    appliance: Annotated[str, Meta(min_length=1, max_length=255)]
    book: BookName
    records: Annotated[list[LedgerRecord], Meta(max_length=MOST_RECORDS)] = []


class Watermark(Struct, frozen=True, kw_only=True):
    """What is there of a book. seq: the greatest number, 0 without any. missing: first and last
    number of each run below it that is not there, the oldest first, MOST_HOLES at the most.
    faults: why some of what was just sent is not there.
    """

    book: str
    seq: int = 0
    missing: list[tuple[int, int]] = []
    faults: list[str] = []


def choose_untold(kept: Sequence[int], mark: Watermark) -> list[int]:
    """Of the numbers that are kept, in order, those that are not there: new ones first, so that
    none that is never taken is in their way.
    """
    untold = list(kept[bisect_right(kept, mark.seq) :])
    for first, last in mark.missing:
        untold += kept[bisect_left(kept, first) : bisect_right(kept, last)]
    return untold

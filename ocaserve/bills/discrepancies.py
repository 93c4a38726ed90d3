"""Where two ledgers say something else of a party and five minutes, and why. Pure.

Of an unequal cell the records of both sides tell why: one that only one side holds is lost, or
stands at another period, or is there a second time under another name. What the records do not
tell, the samples do: they count a record twice, or at another period, or not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import NamedTuple, TypeAlias

Cell: TypeAlias = tuple[str, int]
"""A party, and the start of a period."""


class Cause(Enum):
    """The value is the word of the API."""

    LOST = "lost record"
    DOUBLED = "doubled record"
    SHIFTED = "shifted period"
    FOREIGN = "record that the other has not"
    UNCOUNTED = "record that is held and not counted"
    UNEXPLAINED = "samples that no record explains"


class Reason(NamedTuple):
    """Which record, and what of it."""

    cause: Cause
    record: str
    detail: str = ""

    def __str__(self) -> str:
        return " ".join(each for each in (self.cause.value, self.record, self.detail) if each)


class Discrepancy(NamedTuple):
    """left: bytes by the ledger in force; right: by the one beside it."""

    party: str
    start: int
    left: int
    right: int
    reasons: tuple[Reason, ...]


class HeldRecord(NamedTuple):
    """parts: bytes by party. content: equal where appliance, period and networks are."""

    start: int
    parts: Mapping[str, int]
    content: object


class BothRecords(NamedTuple):
    """Records by name: those of the periods in question, and where others of these names stand."""

    left: Mapping[str, HeldRecord]
    right: Mapping[str, HeldRecord]
    elsewhere_left: Mapping[str, int]
    elsewhere_right: Mapping[str, int]


def explain_cells(
    unequal: Mapping[Cell, tuple[int, int]], evidence: BothRecords
) -> Iterator[Discrepancy]:
    """unequal: bytes of both sides, of cells in which they differ."""
    lefts, rights = _by_start(evidence.left), _by_start(evidence.right)
    rest = {
        cell: right - sum(evidence.right[name].parts.get(cell[0], 0) for name in rights[cell[1]])
        for cell, (_, right) in unequal.items()
    }
    for cell, (left, right) in sorted(unequal.items()):
        party, start = cell
        reasons = [
            *_tell_missing(party, lefts[start], evidence),
            *_tell_extra(party, rights[start], evidence),
            *_tell_samples(cell, rest, rights[start], evidence.right),
        ]
        if not reasons:
            counted = sum(evidence.left[name].parts.get(party, 0) for name in lefts[start])
            what = f"by {left - counted} bytes in the ledger in force"
            reasons = [Reason(Cause.UNEXPLAINED, "", what)]
        yield Discrepancy(party, start, left, right, tuple(reasons))


def _by_start(records: Mapping[str, HeldRecord]) -> Mapping[int, list[str]]:
    found: defaultdict[int, list[str]] = defaultdict(list)
    for name, record in records.items():
        found[record.start].append(name)
    return found


def _tell_missing(party: str, names: list[str], evidence: BothRecords) -> Iterator[Reason]:
    """Records that the left holds at this period, and the right does not."""
    for name in names:
        ours, theirs = evidence.left[name], evidence.right.get(name)
        if party not in ours.parts or (theirs is not None and theirs.start == ours.start):
            continue
        where = theirs.start if theirs is not None else evidence.elsewhere_right.get(name)
        if where is None:
            yield Reason(Cause.LOST, name)
        else:
            yield Reason(Cause.SHIFTED, name, f"stands at {where}, not at {ours.start}")


def _tell_extra(party: str, names: list[str], evidence: BothRecords) -> Iterator[Reason]:
    """The other way round."""
    contents = {each.content: name for name, each in evidence.left.items()}
    for name in names:
        theirs, ours = evidence.right[name], evidence.left.get(name)
        if party not in theirs.parts or (ours is not None and ours.start == theirs.start):
            continue
        where = ours.start if ours is not None else evidence.elsewhere_left.get(name)
        if where is not None:
            yield Reason(Cause.SHIFTED, name, f"stands at {theirs.start}, not at {where}")
        elif (twin := contents.get(theirs.content)) is not None:
            yield Reason(Cause.DOUBLED, twin, f"is there as {name} too")
        else:
            yield Reason(Cause.FOREIGN, name)


def _tell_samples(
    cell: Cell, rest: Mapping[Cell, int], names: list[str], records: Mapping[str, HeldRecord]
) -> Iterator[Reason]:
    """What the samples of the right have more or less than its own records."""
    party, start = cell
    more = rest[cell]
    if not more:
        return
    others = [at for (name, at), count in rest.items() if name == party and count == -more]
    if others:
        nearest = min(others, key=lambda at: abs(at - start))
        counted, due = (start, nearest) if more > 0 else (nearest, start)
        found = [
            name for name, each in records.items()
            if each.start == due and each.parts.get(party) == abs(more)
        ]  # fmt: skip
        yield Reason(Cause.SHIFTED, ", ".join(found), f"counted at {counted}, not at {due}")
        return
    alike = [name for name in names if records[name].parts.get(party) == abs(more)]
    if not alike:
        yield Reason(Cause.UNEXPLAINED, "", f"by {more} bytes in the ledger beside it")
    elif more > 0:
        yield Reason(Cause.DOUBLED, " or ".join(alike), "is counted twice")
    else:
        yield Reason(Cause.UNCOUNTED, " or ".join(alike))

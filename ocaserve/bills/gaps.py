"""What is missing: numbers that are not held, and the time that they stand for.

Of each book all numbers from 1 on are due, to the last that is held, and on until the appliance's
next book begins or the time is over that is asked about. What came before the first month that is
kept is not missed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ocaserve.bills.chains import Chain, ChainKey
from ocaserve.bills.months import PERIOD_S, Month
from ocaserve.bills.vault import MonthTables, Vault
from ocaserve.ledger.handover import MOST_HOLES, Watermark


class Gap(NamedTuple):
    """Records `first` to `last` of a book, of the time from `since` to before `until`.

    is_tail: nothing later of that book is held; it may never have been written.
    """

    appliance: str
    book: str
    first: int
    last: int
    since: int
    until: int
    is_tail: bool

    @property
    def missing(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        what = "silent since" if self.is_tail else "without"
        return f"{self.appliance}, book {self.book}: {what} {self.first} to {self.last}"


class ChainSpan(NamedTuple):
    """A book over all months."""

    begun: int
    last_seq: int
    held: int
    by_month: Mapping[Month, Chain]

    @property
    def end(self) -> int:
        return self.begun + self.last_seq * PERIOD_S


def survey(vault: Vault) -> dict[ChainKey, ChainSpan]:
    """All books of which something is held."""
    rows: defaultdict[ChainKey, dict[Month, Chain]] = defaultdict(dict)
    for month in vault.months():
        with vault.reading(month) as tables:
            for chain in Chain.read_all(tables) if tables is not None else ():
                rows[chain.key][month] = chain
    return {
        key: ChainSpan(
            begun=next(iter(by_month.values())).begun,
            last_seq=max(each.last_seq for each in by_month.values()),
            held=sum(each.held for each in by_month.values()),
            by_month=by_month,
        )
        for key, by_month in sorted(rows.items())
    }


def find_gaps(
    vault: Vault, spans: Mapping[ChainKey, ChainSpan], month: Month, now: float
) -> list[Gap]:
    """Those within a month, as far as it is over. spans: as of `survey`."""
    end = min(month.end, int(now) // PERIOD_S * PERIOD_S)
    begins: defaultdict[str, list[int]] = defaultdict(list)
    for (appliance, _), span in spans.items():
        begins[appliance].append(span.begun)
    found: list[Gap] = []
    with vault.reading(month) as tables:
        for key, span in spans.items():
            found += _find_holes(tables, key, span, month)
            later = [begun for begun in begins[key[0]] if begun > span.begun]
            tail = max(span.end, month.start), min((end, *later))
            if tail[0] < tail[1]:
                found.append(_gap(key, span, *tail, is_tail=True))
    return found


def _gap(key: ChainKey, span: ChainSpan, since: int, until: int, *, is_tail: bool = False) -> Gap:
    first, after = ((at - span.begun) // PERIOD_S + 1 for at in (since, until))
    return Gap(*key, first, after - 1, since, until, is_tail)


def _find_holes(
    tables: MonthTables | None, key: ChainKey, span: ChainSpan, month: Month
) -> Iterator[Gap]:
    since, until = max(span.begun, month.start), min(span.end, month.end)
    if since >= until:
        return
    chain = span.by_month.get(month)
    if tables is None or chain is None:
        yield _gap(key, span, since, until)
        return
    if chain.held == (until - since) // PERIOD_S:
        return
    for low, high in _find_jumps(tables, chain, since, until):
        yield _gap(key, span, low, high)


def _find_jumps(
    tables: MonthTables, chain: Chain, since: int, until: int
) -> Iterator[tuple[int, int]]:
    """Times of which no record is held."""
    expected = since
    for (start,) in tables.stream(
        "SELECT start FROM records WHERE chain = ? ORDER BY seq", chain.id
    ):
        if start > expected:
            yield expected, start
        expected = start + PERIOD_S
    if expected < until:
        yield expected, until


def find_watermark(vault: Vault, key: ChainKey) -> Watermark:
    """What is held of one book, as its appliance is answered."""
    months: dict[Month, Chain] = {}
    runs: list[tuple[int, int]] = []
    for month in vault.months():
        with vault.reading(month) as tables:
            chain = Chain.find(tables, key) if tables is not None else None
            if tables is None or chain is None:
                continue
            months[month] = chain
            runs += _find_runs(tables, chain)
    runs.sort()
    missing: list[tuple[int, int]] = []
    after = _first_due(next(iter(months)), months) if months else 1
    for first, last in runs:
        if first > after:
            missing.append((after, first - 1))
        after = last + 1
    return Watermark(book=key[1], seq=after - 1 if runs else 0, missing=missing[:MOST_HOLES])


def _first_due(month: Month, months: Mapping[Month, Chain]) -> int:
    """Number of the first record that lies in a month that is kept."""
    return max(1, (month.start - months[month].begun) // PERIOD_S + 1)


def _find_runs(tables: MonthTables, chain: Chain) -> Iterator[tuple[int, int]]:
    """First and last number of each run that is held."""
    if chain.held == chain.last_seq - chain.first_seq + 1:
        yield chain.first_seq, chain.last_seq
        return
    since, until = (chain.begun + (n - 1) * PERIOD_S for n in (chain.first_seq, chain.last_seq + 1))
    first = chain.first_seq
    for low, high in _find_jumps(tables, chain, since, until):
        yield first, (low - chain.begun) // PERIOD_S
        first = (high - chain.begun) // PERIOD_S + 1
    yield first, chain.last_seq


class Completeness(NamedTuple):
    """Of a month: records that are held, and those that are missing."""

    held: int
    missing: int

    @property
    def percent(self) -> float:
        """Rounded down, so that 100 is all."""
        due = self.held + self.missing
        return self.held * 1_000_000 // due / 10_000 if due else 100.0


def count_held(
    spans: Mapping[ChainKey, ChainSpan], month: Month, gaps: Sequence[Gap]
) -> Completeness:
    """How complete a month is."""
    chains = (span.by_month.get(month) for span in spans.values())
    return Completeness(
        sum(each.held for each in chains if each), sum(each.missing for each in gaps)
    )

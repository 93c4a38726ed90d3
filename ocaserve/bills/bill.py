"""Bills: what one says, how it is signed, and as CSV. Pure.

The 95th percentile is by the rule that stands in each bill. A correction of an earlier month says
what that month's percentile was with all that was known before, and what it is with this.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ocaserve.bills.gaps import Completeness
from ocaserve.bills.months import PERIOD_S, Month
from ocaserve.bills.parties import Party
from ocaserve.ledger.summary import percentile_95

RULE = (
    "of the means of all periods of five minutes of the month in which the party's dates hold, "
    "those without traffic too, the highest after the top 5 % are left out"
)


class BillEntry(Struct, frozen=True, kw_only=True):
    """`bytes` may be negative. `reference` names a record, or is what an operator has given."""

    reference: str
    reason: str
    bytes: int


class BillCorrection(Struct, frozen=True, kw_only=True):
    """Of a month that was billed before, or of this one by hand."""

    month: str
    bytes: int
    p95_before_bits_per_s: int
    p95_after_bits_per_s: int
    entries: list[BillEntry]


class Bill(Struct, frozen=True, kw_only=True):
    """What a party got in a month. `state`: open, closed or closed incomplete; only a closed one is
    signed, and never changes. `missing_records`: of all appliances; `accepted`: why it was closed
    nevertheless.

    `samples`: periods that the percentile is of. `total_bytes`: with the corrections.
    `signature`: HMAC-SHA256 in hex by the key of the version `key`, of the other members as JSON
    with sorted names and no spaces.
    """

    party: str
    month: str
    state: str
    grouping: str
    bytes: int
    p95_bits_per_s: int
    peak_bits_per_s: int
    p95_rule: str
    samples: int
    completeness_percent: float
    missing_records: int
    accepted: str
    corrections: list[BillCorrection]
    total_bytes: int
    issued: str = ""
    key: str = ""
    signature: str = ""


class Entry(NamedTuple):
    """A correction of `month`, on the bill of `billed_in`. start: of its period, if it has one."""

    month: str
    reference: str
    party: str
    start: int | None
    bytes: int
    reason: str
    billed_in: str


class BillBasis(NamedTuple):
    """What is the same in all bills of a month."""

    month: Month
    state: str
    grouping: str
    completeness: Completeness
    accepted: str


class BillKey(NamedTuple):
    """By which bills are signed."""

    version: str
    secret: bytes


def rate(count: float) -> int:
    """Bits per second, of bytes in five minutes."""
    return round(count * 8 / PERIOD_S)


def count_periods(party: Party, month: Month, until: float) -> int:
    """Periods of a month that count for a party, of those that are over by then."""
    first = max(month.start, -(-party.since // PERIOD_S) * PERIOD_S)
    last = min(month.end, party.until, int(until) // PERIOD_S * PERIOD_S)
    return max(0, -(-(last - first) // PERIOD_S))


def make_bill(
    basis: BillBasis,
    party: Party,
    curve: Sequence[int],
    corrections: list[BillCorrection],
    until: float,
) -> Bill:
    """curve: bytes of all periods of the month. until: when what is over ends."""
    samples = count_periods(party, basis.month, until)
    total = sum(curve)
    return Bill(
        party=party.id,
        month=basis.month.name,
        state=basis.state,
        grouping=basis.grouping,
        bytes=total,
        p95_bits_per_s=rate(percentile_95(curve, samples)),
        peak_bits_per_s=rate(max(curve, default=0)),
        p95_rule=RULE,
        samples=samples,
        completeness_percent=basis.completeness.percent,
        missing_records=basis.completeness.missing,
        accepted=basis.accepted,
        corrections=corrections,
        total_bytes=total + sum(each.bytes for each in corrections),
    )


def make_correction(
    party: Party, month: Month, curve: array[int], entries: Iterable[Entry], billed_in: str
) -> BillCorrection:
    """What the bill of `billed_in` says of `month`. entries: those of the party and that month, all
    up to that bill. curve: of that month, as it was closed.
    """
    before, after = (array("q", curve) for _ in range(2))
    listed: list[BillEntry] = []
    for entry in entries:
        is_ours = entry.billed_in == billed_in
        if is_ours:
            listed.append(
                BillEntry(reference=entry.reference, reason=entry.reason, bytes=entry.bytes)
            )
        if entry.start is not None:
            place = (entry.start - month.start) // PERIOD_S
            after[place] += entry.bytes
            if not is_ours:
                before[place] += entry.bytes
    samples = count_periods(party, month, month.end)
    return BillCorrection(
        month=month.name,
        bytes=sum(each.bytes for each in listed),
        p95_before_bits_per_s=rate(percentile_95(before, samples)),
        p95_after_bits_per_s=rate(percentile_95(after, samples)),
        entries=sorted(listed, key=lambda each: each.reference),
    )


def group_entries(entries: Iterable[Entry]) -> dict[str, dict[str, list[Entry]]]:
    """By party and the month that they correct."""
    found: defaultdict[str, defaultdict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for each in entries:
        found[each.party][each.month].append(each)
    return {party: dict(by_month) for party, by_month in found.items()}


# -- as it is handed out -------------------------------------------------------------------------


def sign_bill(bill: Bill, key: BillKey, now: float) -> Bill:
    """The same, signed and dated."""
    issued = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    dated = msgspec.structs.replace(bill, issued=issued, key=key.version)
    return msgspec.structs.replace(dated, signature=_signature_of(dated, key.secret))


def is_signed(bill: Bill, keys: Mapping[str, bytes]) -> bool:
    """Whether it is as it was signed by one of these keys, by version."""
    secret = keys.get(bill.key, b"")
    return bool(secret) and hmac.compare_digest(_signature_of(bill, secret), bill.signature)


def _signature_of(bill: Bill, secret: bytes) -> str:
    members = msgspec.structs.asdict(bill)
    del members["signature"]
    text = msgspec.json.encode(members, order="sorted")
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def write_csv(bills: Iterable[Bill]) -> str:
    """A row for what was delivered, for each entry of a correction, and for the sum, of each."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(
        ["party", "month", "state", "kind", "of_month", "reference", "reason", "bytes",
         "p95_bits_per_s", "completeness_percent"]
    )  # fmt: skip
    for bill in bills:
        head, whole = [bill.party, bill.month, bill.state], f"{bill.completeness_percent:.4f}"
        rows.writerow(
            [*head, "delivered", bill.month, "", "", bill.bytes, bill.p95_bits_per_s, whole]
        )
        for correction in bill.corrections:
            for entry in correction.entries:
                said = (entry.reference, entry.reason, entry.bytes)
                rows.writerow([*head, "correction", correction.month, *said, "", ""])
        rows.writerow([*head, "total", "", "", "", bill.total_bytes, "", ""])
    return out.getvalue()

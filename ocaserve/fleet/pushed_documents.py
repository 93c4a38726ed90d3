"""Reports and changes as appliances push them, and what they make of what is known: docs/report.md.

Whatever comes may come twice, late, or from before: what is older than what is known changes
nothing, and what cannot be gone on from asks for the whole report.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ocaserve.fleet.tables import NO_ROUTES, Rank, Table, Tables
from ocaserve.fleet.turn_up import TurnUp
from ocaserve.settings.places import find_location_faults, find_url_faults

SCHEMA = "ocaserve.report/1"

_MOST_HELD = 10_000_000  # objects of a manifest
_MOST_SESSIONS = 16  # that have ended, of which late documents are known

_Count = Annotated[int, Meta(ge=0)]
_FourOctets = Annotated[int, Meta(ge=0, lt=1 << 32)]  # as MED has (RFC 4271 section 4.3)
_Weight = Annotated[float, Meta(ge=0.01, le=100)]
_Bits = Annotated[float, Meta(ge=0)]
_Url = Annotated[str, Meta(max_length=300, pattern=r"^https?://[!-.0-9:;=A-\[\]_a-z~]+/?\Z")]
_Text = Annotated[str, Meta(max_length=255)]


class RouteRow(Struct, frozen=True, gc=False):
    """A route; `attributes` is a number of the session."""

    attributes: int


class AttributesRow(Struct, frozen=True):
    """Of a set of attributes what the rank of a route is made of."""

    as_path: list[Any] = []
    as_path_confederation: _FourOctets = 0
    as_path_length: _FourOctets | None = None
    med: _FourOctets = 0
    backup: bool = False
    weight: _Weight = 1.0

    @property
    def rank(self) -> Rank:
        """Of a path that is cut its length is told; AS numbers of confederations do not count."""
        shown = max(len(self.as_path) - self.as_path_confederation, 0)
        length = shown if self.as_path_length is None else self.as_path_length
        return Rank(length, self.med, self.backup, self.weight)


class HealthRow(Struct, frozen=True):
    takes_traffic: bool = False
    state: Annotated[str, Meta(max_length=64)] = ""
    level: Annotated[str, Meta(max_length=64)] = ""
    reasons: list[str] = []

    @property
    def reason(self) -> str:
        """The first, of a length that can be shown."""
        return self.reasons[0][:200] if self.reasons else ""


class CapacityRow(Struct, frozen=True):
    """Null where nothing is known that bounds it."""

    total_bits_per_s: _Bits | None = None
    free_bits_per_s: _Bits | None = None


class PlaceRow(Struct, frozen=True):
    """What the appliance says of itself; the settings of the control plane come before it."""

    urls: Annotated[list[_Url], Meta(max_length=8)] = []
    location: Annotated[list[float], Meta(max_length=2)] = []
    site_kind: Literal["embedded", "pni", "exchange"] = "embedded"


class ObjectsRow(Struct, frozen=True):
    """As docs/report.md has it: all by `here`, or what `came` and `went` since a serial."""

    manifest: _Text
    count: Annotated[int, Meta(ge=0, le=_MOST_HELD)]
    here: Annotated[bytes, Meta(max_length=_MOST_HELD)] | None = None
    came: list[_Count] = []
    went: list[_Count] = []


class HeldObjects(Struct, frozen=True):
    """Which objects of a manifest an appliance has: bit n, from the lowest of the first byte, is
    the object at place n.
    """

    manifest: str
    count: int
    here: bytes

    @property
    def share(self) -> float:
        """Of the objects, those that are there; of none, all."""
        there = int.from_bytes(self.here, "little").bit_count()
        return min(there / self.count, 1.0) if self.count else 1.0


_NO_HEALTH, _NO_CAPACITY, _NO_PLACE = HealthRow(), CapacityRow(), PlaceRow()


class PushedDocument(Struct, frozen=True):
    """A report, or the changes after a serial. What else stands in it is not needed here.

    table: the digest of the routes, of a report that has them by that alone.
    """

    schema: Literal["ocaserve.report/1"]
    kind: Literal["report", "changes"]
    appliance: Annotated[str, Meta(min_length=1, max_length=255)]
    session: Annotated[str, Meta(min_length=1, max_length=64)]
    serial: Annotated[int, Meta(ge=0, le=1 << 53)]
    routes: dict[str, list[RouteRow]] = {}
    attributes: dict[int, AttributesRow] = {}
    table: Annotated[str, Meta(pattern="^[0-9a-f]{32}$")] = ""
    site: _Text = ""
    after: Annotated[int, Meta(ge=0, le=1 << 53)] = 0
    prefix_digest: Annotated[str, Meta(max_length=64)] = ""
    complete: bool = True
    place: PlaceRow | None = None
    health: HealthRow | None = None
    capacity: CapacityRow | None = None
    objects: ObjectsRow | None = None


class DocumentOutcome(Enum):
    """What has become of a document; the value is the word of the metric."""

    TAKEN = "taken"
    REPEATED = "repeated"
    """It is older than what is known. Nothing has changed, and the appliance was not heard."""
    ASKED_FOR_ALL = "asked_for_all"
    """It goes on from what is not known, or from what is not so: the whole report is needed."""
    ASKED_ANOTHER = "asked_another"
    """It names a table that another appliance was asked for just now."""
    OF_ENDED_SESSION = "of_ended_session"
    MALFORMED = "malformed"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - a word of a metric
    UNKNOWN_APPLIANCE = "unknown_appliance"
    IMPOSTOR = "impostor"
    """The token is of another appliance than the document."""


class DocumentError(Exception):
    """It is not taken. `outcome`: by which it is counted; the text says why, for its sender."""

    def __init__(self, outcome: DocumentOutcome, why: str) -> None:
        super().__init__(why)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Copy:
    """What is known of an appliance by its documents.

    ended: its sessions of before. is_complete: whether its routers have told it all that they have.
    turn_up: which no document changes.
    """

    appliance: str
    site: str = ""
    session: str = ""
    serial: int = -1
    table: Table = NO_ROUTES
    place: PlaceRow = _NO_PLACE
    health: HealthRow = _NO_HEALTH
    capacity: CapacityRow = _NO_CAPACITY
    ended: tuple[str, ...] = ()
    objects: HeldObjects | None = None
    is_complete: bool = True
    turn_up: TurnUp = TurnUp.COMMISSIONING


def read_document(data: bytes) -> PushedDocument:
    """Raises DocumentError."""
    try:
        document = msgspec.json.decode(data, type=PushedDocument)
        judge_place(document.place or _NO_PLACE)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise DocumentError(DocumentOutcome.MALFORMED, f"the body: {error}") from error
    return document


def judge_place(place: PlaceRow) -> None:
    """As the appliance's own settings are judged. Raises ValueError, which names what is wrong."""
    for fault in find_url_faults("place.urls", place.urls):
        raise ValueError(fault.text)
    for fault in find_location_faults("place.location", place.location):
        raise ValueError(fault.text)


def advance(copy: Copy, document: PushedDocument, tables: Tables) -> tuple[Copy, DocumentOutcome]:
    """What is known with the document, which is of the same appliance. Raises DocumentError."""
    if document.session in copy.ended:
        raise DocumentError(
            DocumentOutcome.OF_ENDED_SESSION,
            "the session has ended: there is a later one",
        )
    is_known = document.session == copy.session
    if is_known and document.serial < copy.serial:
        return copy, DocumentOutcome.REPEATED
    if document.kind == "changes":
        _insist_that_it_goes_on(copy, document, is_known=is_known)
    table = _find_table(tables, copy.table, document)
    ended = copy.ended
    if not is_known and copy.session:
        ended = (*ended, copy.session)[-_MOST_SESSIONS:]
    changed = replace(
        copy,
        site=document.site,
        session=document.session,
        serial=document.serial,
        table=table,
        place=document.place or copy.place,
        health=document.health or copy.health,
        capacity=document.capacity or copy.capacity,
        ended=ended,
        objects=_hold(copy.objects, document),
        is_complete=document.complete,
    )
    return changed, DocumentOutcome.TAKEN


def _insist_that_it_goes_on(copy: Copy, document: PushedDocument, *, is_known: bool) -> None:
    if not is_known:
        raise DocumentError(DocumentOutcome.ASKED_FOR_ALL, "the session is not known here")
    if document.after > copy.serial:
        raise DocumentError(
            DocumentOutcome.ASKED_FOR_ALL, f"serial {copy.serial} is known, not {document.after}"
        )


def _find_table(tables: Tables, before: Table, document: PushedDocument) -> Table:
    is_whole = document.kind == "report"
    wrong = DocumentOutcome.MALFORMED if is_whole else DocumentOutcome.ASKED_FOR_ALL
    if is_whole and document.table:
        known = tables.get(int(document.table, 16))
        if known is None:
            raise DocumentError(DocumentOutcome.ASKED_FOR_ALL, "the table is not known here")
        table = known
    else:
        try:
            base = NO_ROUTES if is_whole else before
            table = tables.change(base, _news(document, tables)) if document.routes else base
        except ValueError as error:
            raise DocumentError(wrong, f"routes: {error}") from error
    if document.prefix_digest and f"{table.prefix_digest:032x}" != document.prefix_digest:
        raise DocumentError(wrong, "prefix_digest is not that of the routes")
    return table


def _hold(before: HeldObjects | None, document: PushedDocument) -> HeldObjects | None:
    """Raises DocumentError where the changes are of what is not known."""
    row = document.objects
    if row is None:
        return before
    size = -(-row.count // 8)
    if row.here is not None:
        if len(row.here) != size:
            raise DocumentError(
                DocumentOutcome.MALFORMED, f"objects.here: {row.count} objects have {size} bytes"
            )
        return HeldObjects(row.manifest, row.count, row.here)
    if before is None or (before.manifest, before.count) != (row.manifest, row.count):
        raise DocumentError(
            DocumentOutcome.ASKED_FOR_ALL,
            f"objects of manifest {row.manifest[:60]!r} are not known",
        )
    if max((*row.came, *row.went), default=-1) >= row.count:
        raise DocumentError(DocumentOutcome.MALFORMED, f"objects: there are {row.count} of them")
    here = bytearray(before.here)
    for place in row.came:
        here[place // 8] |= 1 << place % 8
    for place in row.went:
        here[place // 8] &= ~(1 << place % 8)
    return HeldObjects(row.manifest, row.count, bytes(here))


def _news(document: PushedDocument, tables: Tables) -> Iterable[tuple[str, Rank | None]]:
    """The best route of each network stands first. Raises ValueError."""
    ranks = {number: tables.intern(row.rank) for number, row in document.attributes.items()}
    try:
        told = [ranks[each[0].attributes] if each else None for each in document.routes.values()]
    except KeyError as untold:
        (number,) = untold.args
        found = document.routes.items()
        text = next(text for text, each in found if each and each[0].attributes == number)
        raise ValueError(f"{text[:60]!r}: attributes {number} are not told") from None
    return zip(document.routes, told, strict=True)

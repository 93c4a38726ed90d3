"""`[[fleet.party]]`: who is billed for what; and where the fleet's ledger is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta, Struct

from bgp.prefixes import parse_prefix
from ocaserve.findings import Finding
from ocaserve.schema import text

LEDGER_FORMS = '"sqlite:///FOLDER", "postgresql://USER@HOST/DATABASE" or "off"'
_DATE = 'a date such as "2026-11-01", or empty'
_AsNumber = Annotated[int, Meta(ge=1, le=2**32 - 1)]


class FleetParty(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is billed for bytes: for those to its networks, and those of appliances at its sites.

    The longest prefix decides, then the site. What belongs to nobody is of `unassigned`.
    """

    id: Annotated[
        str,
        text(
            "1 to 64 letters, digits, `.`, `_`, `-`",
            "by which it is named in bills",
            pattern=r"^[A-Za-z0-9._-]{1,64}\Z",
        ),
    ]
    prefixes: Annotated[
        list[str],
        text(
            "",
            "its client networks; one that is longer than the networks that appliances tell apart "
            "(`ledger.prefix_v4`, `prefix_v6`) has none of them",
            parse=parse_prefix,
        ),
    ] = msgspec.field(default_factory=list)
    sites: Annotated[
        list[str],
        text("", "all that their appliances deliver and no prefix of a party covers"),
    ] = msgspec.field(default_factory=list)
    as_numbers: Annotated[
        list[_AsNumber],
        text(
            "a list of AS numbers",
            "whose prefixes are its own: those that they may originate by `fleet.as_prefixes_file`",
            each="an AS number",
        ),
    ] = msgspec.field(default_factory=list)
    since: Annotated[str, text(_DATE, "the first day, in UTC, that it counts for")] = ""
    until: Annotated[str, text(_DATE, "the first day, in UTC, that it no longer counts for")] = ""


def find_party_faults(parties: Sequence[FleetParty], as_prefixes_file: str) -> Iterator[Finding]:
    """What single values do not show. Nothing on a disk is looked at."""
    for place, party in enumerate(parties):
        key = f"fleet.party[{place}]"
        if party.id == "unassigned":
            yield Finding(f"{key}.id", "", repr(party.id), "another name: it is who is nobody")
        if not (party.prefixes or party.sites or party.as_numbers):
            yield Finding(key, "has nothing", repr(party.id), "prefixes, sites or as_numbers")
        if party.as_numbers and not as_prefixes_file:
            yield Finding(f"{key}.as_numbers", "", allowed="beside fleet.as_prefixes_file")
        for name in ("since", "until"):
            given = getattr(party, name)
            if given and read_day(given) is None:
                yield Finding(f"{key}.{name}", "", repr(given), _DATE)
        since, until = read_day(party.since), read_day(party.until)
        if since is not None and until is not None and since >= until:
            yield Finding(f"{key}.until", "", repr(party.until), "after since")


def read_day(given: str) -> int | None:
    """Its begin in UTC, in seconds since the epoch; None where it is no date."""
    try:
        day = date.fromisoformat(given)
    except ValueError:
        return None
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def find_ledger_faults(ledger: str) -> Iterator[Finding]:
    """Of `fleet.ledger`."""
    if ledger not in ("", "off") and not (ledger_folder_of(ledger) or is_postgresql(ledger)):
        yield Finding("fleet.ledger", "", allowed=LEDGER_FORMS)


def ledger_folder_of(url: str) -> str:
    """The folder of a URL "sqlite:///FOLDER"; empty where it is none."""
    parts = urlsplit(url)
    path = unquote(parts.path)
    is_folder = parts.scheme == "sqlite" and not parts.netloc and path.startswith("/")
    return path if is_folder and len(path) > 1 else ""


def is_postgresql(url: str) -> bool:
    """Whether it is the URL of a database of PostgreSQL."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("postgresql", "postgres") and len(parts.path) > 1
    except ValueError:
        return False

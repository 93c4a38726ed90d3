"""Servers that were asked and did something wrong: what it was, and how long each is left alone.

Pure: the clock is a parameter. Servers are judged by origin (scheme, host and port, RFC 9110
section 4.3.1): what one URL did wrong says something of the server behind it. A fault leaves it
alone for a time that doubles with each fault in a row, up to five minutes; one good answer clears
it. Whoever fetches from several keeps such a book: fill from its sources, a follower from the
appliances that it was sent to.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec import Struct

FIRST_DROP_S = 5.0
LONGEST_DROP_S = 300.0


class Fault(StrEnum):
    """What a server did wrong. The words stand in metrics, status and log."""

    UNREACHABLE = "unreachable"
    ABSENT = "absent"  # it does not have the object, which a peer may well say
    REFUSED = "refused"  # it does not let us in: a signature that is over, for instance
    PENDING = "pending"  # it has it on its way, and not yet
    STATUS = "status"
    NO_RANGE = "no_range"  # 200 for a range
    WRONG_RANGE = "wrong_range"  # other bytes than were asked for, or of another size
    CUT = "cut"  # fewer bytes than were promised
    TOO_MANY = "too_many"  # more bytes than were promised
    DIGEST = "digest"
    CHANGED = "changed"  # another version than the part before
    UNTAGGED = "untagged"  # no strong entity-tag, so no part can be joined to another
    SLOW = "slow"
    STALLED = "stalled"
    REDIRECTS = "redirects"
    ENCODED = "encoded"  # with a content coding that nobody asked for


class SourceError(Exception):
    """A server did something wrong. `fault` is the kind, the text has the details."""

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(text)
        self.fault = fault


class Record(Struct, frozen=True, kw_only=True):
    """What is remembered of an origin. until: when it may be asked again, seconds of the clock."""

    strikes: int = 0
    until: float = 0.0
    last: str = ""


_CLEAN = Record()


class Strikes:
    """What each origin did wrong in a row."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def add(self, url: str, fault: Fault, text: str, now: float) -> Record:
        """It did something wrong, and is left alone for a while."""
        origin = origin_of(url)
        strikes = self._records.get(origin, _CLEAN).strikes + 1
        pause = min(LONGEST_DROP_S, FIRST_DROP_S * 2 ** min(strikes - 1, 30))
        record = Record(strikes=strikes, until=now + pause, last=f"{fault}: {text}")
        self._records[origin] = record
        return record

    def clear(self, url: str) -> None:
        """It did something right."""
        self._records.pop(origin_of(url), None)

    def clear_all(self) -> None:
        """Whatever they did."""
        self._records.clear()

    def of(self, url: str) -> Record:
        """What is remembered of it; nothing, of who did nothing wrong."""
        return self._records.get(origin_of(url), _CLEAN)

    def counts(self, url: str, now: float) -> bool:
        """Whether it is left alone now."""
        return now < self.of(url).until

    def running(self, now: float) -> Iterator[tuple[str, Record]]:
        """Origins that are left alone now, with why."""
        return ((origin, each) for origin, each in self._records.items() if now < each.until)


def origin_of(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{port}"

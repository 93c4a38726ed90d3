"""All releases of policies, and what may become of each: a value, and functions that make another.

A release is one or more policies, each of a version, that come into force together or not at all.
What is in force is the book's `live`, so one step changes it for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ocaserve.policies.lives import ON_TRIAL, POLICY_LIVES, PolicyEvent, PolicyState

MOST_RELEASES = 200  # that are kept, and those in force
MOST_EVENTS = 500
MOST_SHADOWS = 4  # each is asked beside what is in force
LEAST_SHARE, MOST_SHARE = 0.001, 0.5


class ReleaseError(ValueError):
    """What may not be done; the text says why. Nothing is changed."""


class Release(Struct, frozen=True, kw_only=True):
    """policies: versions by name. by: who has handed it in. until: when its trial ends.

    share: of the clients, while it is a canary. before: the releases by which its names were in
    force when it came into force. since: of its state. why: of the last change. Times are Unix
    times.
    """

    number: int
    policies: dict[str, str]
    by: str
    note: str
    state: PolicyState
    since: float
    until: float = 0.0
    share: float = 0.0
    before: dict[str, int] = {}
    why: str = ""

    @property
    def names(self) -> str:
        return ", ".join(sorted(self.policies))


class PolicyNote(Struct, frozen=True, kw_only=True):
    """Who did what to a release, when and why. by: empty where nobody did, but a measure."""

    at: float
    release: int
    policies: dict[str, str]
    event: str
    state: PolicyState
    by: str
    why: str


class PolicyBook(Struct, frozen=True, kw_only=True):
    """serial: grows with each change. live: by which releases policies are in force, by name."""

    serial: Annotated[int, Meta(ge=0)] = 0
    releases: tuple[Release, ...] = ()
    live: dict[str, int] = {}
    notes: tuple[PolicyNote, ...] = ()

    @property
    def canary(self) -> Release | None:
        return next((r for r in self.releases if r.state is PolicyState.CANARY), None)

    @property
    def shadows(self) -> tuple[Release, ...]:
        return tuple(r for r in self.releases if r.state is PolicyState.SHADOW)

    @property
    def in_force(self) -> dict[str, str]:
        """Versions by name."""
        return {name: self.find(number).policies[name] for name, number in self.live.items()}

    @property
    def versions(self) -> frozenset[str]:
        """All that some release is made of."""
        return frozenset(version for r in self.releases for version in r.policies.values())

    def find(self, number: int) -> Release:
        """Raises ReleaseError."""
        for each in self.releases:
            if each.number == number:
                return each
        raise ReleaseError(f"release {number} is not known")

    def newest(self, name: str) -> Release:
        """Of a policy. Raises ReleaseError."""
        for each in reversed(self.releases):
            if name in each.policies:
                return each
        raise ReleaseError(f"the policy {name!r} is not known")


EMPTY_BOOK = PolicyBook()


def hand_in(
    book: PolicyBook, policies: Mapping[str, str], by: str, note: str, now: float
) -> PolicyBook:
    """A new release, a draft. policies: versions by name, at least one."""
    assert policies, "a release of nothing"
    number = max((each.number for each in book.releases), default=0) + 1
    release = Release(
        number=number, policies=dict(policies), by=by, note=note, state=PolicyState.DRAFT, since=now
    )
    return _changed(book, [*book.releases, release], release, "hand in", by, note)


def move(
    book: PolicyBook, number: int, event: PolicyEvent, now: float,
    *, by: str = "", why: str = "", until: float = 0.0, share: float = 0.0,
) -> PolicyBook:  # fmt: skip
    """One step of its life. Raises ReleaseError where the table, or another release, refuses it."""
    release = book.find(number)
    state = POLICY_LIVES.get((release.state, event))
    if state is None:
        raise ReleaseError(
            f"release {number} ({release.names}) is {release.state.value}: {_allowed(release)}"
        )
    _judge(book, release, event, share)
    changed = msgspec.structs.replace(
        release, state=state, since=now, why=why,
        until=until if state in ON_TRIAL else 0.0,
        share=share if state is PolicyState.CANARY else 0.0,
    )  # fmt: skip
    live = dict(book.live)
    if event is PolicyEvent.PROMOTE:
        before = {name: live[name] for name in release.policies if name in live}
        changed = msgspec.structs.replace(changed, before=before)
        live |= dict.fromkeys(release.policies, number)
    elif event is PolicyEvent.ROLL_BACK and release.state is PolicyState.LIVE:
        live = _without(book, release)
    releases = [changed if each.number == number else each for each in book.releases]
    releases = [_follow(each, live, now) for each in releases]
    book = msgspec.structs.replace(book, live=live)
    return _changed(book, releases, changed, event.value, by, why)


def _allowed(release: Release) -> str:
    events = [event.value for state, event in POLICY_LIVES if state is release.state]
    return f"it can {' or '.join(events)}" if events else "hand it in again"


def _judge(book: PolicyBook, release: Release, event: PolicyEvent, share: float) -> None:
    """What other releases have to say of it."""
    if event is PolicyEvent.CANARY:
        if (other := book.canary) is not None:
            raise ReleaseError(
                f"release {other.number} ({other.names}) is a canary: one is judged at a time"
            )
        if not LEAST_SHARE <= share <= MOST_SHARE:
            raise ReleaseError(f"a share of {share:g}: it must be {LEAST_SHARE} to {MOST_SHARE}")
    if event is PolicyEvent.SHADOW and len(book.shadows) >= MOST_SHADOWS:
        numbers = ", ".join(str(each.number) for each in book.shadows)
        raise ReleaseError(f"releases {numbers} are in shadow: at most {MOST_SHADOWS} may be")


def _without(book: PolicyBook, release: Release) -> dict[str, int]:
    """What is in force when it is not. Another that has taken a name over since stays."""
    live = {name: number for name, number in book.live.items() if number != release.number}
    for name in book.live.keys() - live.keys():
        if (number := _find_before(book, release, name)) is not None:
            live[name] = number
    return live


def _find_before(book: PolicyBook, release: Release, name: str) -> int | None:
    """The release by which a policy was in force, and was not found bad since."""
    by_number = {each.number: each for each in book.releases}
    before = by_number.get(release.before.get(name, 0))
    while before is not None and before.state is PolicyState.ROLLED_BACK:
        before = by_number.get(before.before.get(name, 0))
    return None if before is None else before.number


def _follow(release: Release, live: Mapping[str, int], now: float) -> Release:
    """Live is by what something is in force."""
    event = {
        (PolicyState.LIVE, False): PolicyEvent.RETIRE,
        (PolicyState.RETIRED, True): PolicyEvent.RESTORE,
    }.get((release.state, release.number in live.values()))
    if event is None:
        return release
    return msgspec.structs.replace(release, state=POLICY_LIVES[release.state, event], since=now)


def _changed(
    book: PolicyBook, releases: Sequence[Release], release: Release, event: str, by: str, why: str
) -> PolicyBook:
    note = PolicyNote(
        at=release.since, release=release.number, policies=release.policies, event=event,
        state=release.state, by=by, why=why,
    )  # fmt: skip
    needed = {*book.live.values(), release.number}
    needed |= {
        number for each in releases if each.number in needed for number in each.before.values()
    }
    kept = [
        each
        for place, each in enumerate(releases, MOST_RELEASES - len(releases))
        if place >= 0 or each.number in needed
    ]
    return msgspec.structs.replace(
        book,
        serial=book.serial + 1,
        releases=tuple(kept),
        notes=(*book.notes, note)[-MOST_EVENTS:],
    )

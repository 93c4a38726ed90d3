"""How an appliance comes into service: the table of its states, and what is checked of it.

One that never was in service gets no clients until all checks pass. One that once was goes on being
steered by its health; the same checks go on, and those that fail are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class TurnUp(Enum):
    """Whether an appliance has ever passed all checks. The value is the word shown."""

    COMMISSIONING = "commissioning"
    IN_SERVICE = "in service"


class TurnUpEvent(Enum):
    PASSED = "passed"  # all checks, at one time


TURN_UPS: Mapping[tuple[TurnUp, TurnUpEvent], TurnUp] = {
    (TurnUp.COMMISSIONING, TurnUpEvent.PASSED): TurnUp.IN_SERVICE,
}
"""Nothing leads back: an appliance that fails later is a matter of its health."""


class TurnUpCheck(Enum):
    """The value is the word of the API and of the metric."""

    CONTACT_FROM = "contact_from"
    CONTACT_TO = "contact_to"
    HARDWARE = "hardware"
    ROUTES = "routes"
    CONTENT = "content"


_WORDS = {
    TurnUpCheck.CONTACT_FROM: "contact from it",
    TurnUpCheck.CONTACT_TO: "contact to it",
}

NOT_ASKED_YET = "not asked yet"


class FailedCheck(NamedTuple):
    """`why` names the hop, the port or the part."""

    check: TurnUpCheck
    why: str

    def __str__(self) -> str:
        return f"{_WORDS.get(self.check, self.check.value)}: {self.why}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of an appliance.

    age_s: since it was heard of. level, reason: of its health, the worst of all components.
    contacts: by URL of clients, what hinders asking it from here, empty where nothing does; None
    where nobody is to ask. is_complete, networks: of its report. held: the share of its objects
    that it has; None where it has told of no manifest from here.
    """

    age_s: float
    level: str
    reason: str
    contacts: Mapping[str, str] | None
    is_complete: bool
    networks: int
    held: float | None


def find_failed_checks(
    evidence: Evidence, ttl_s: float, least_held: float
) -> Iterator[FailedCheck]:
    """In the order of `TurnUpCheck`.

    ttl_s: how old the last report may be. least_held: the share of its objects that it must have.
    """
    if evidence.age_s > ttl_s:
        yield FailedCheck(TurnUpCheck.CONTACT_FROM, f"no report of the last {ttl_s:g} s is taken")
    if evidence.contacts is not None:
        for url, fault in evidence.contacts.items():
            if fault:
                yield FailedCheck(TurnUpCheck.CONTACT_TO, f"{url}: {fault}")
        if not evidence.contacts:
            yield FailedCheck(TurnUpCheck.CONTACT_TO, "it has no URL")
    if evidence.level != "ok" and evidence.level != "warning":
        why = evidence.reason or f"its health is {evidence.level or 'not told'}"
        yield FailedCheck(TurnUpCheck.HARDWARE, why)
    if not evidence.is_complete:
        yield FailedCheck(TurnUpCheck.ROUTES, "its report is not complete")
    elif not evidence.networks:
        yield FailedCheck(TurnUpCheck.ROUTES, "its report has no network")
    if least_held:
        if evidence.held is None:
            yield FailedCheck(TurnUpCheck.CONTENT, "it tells of no manifest from here")
        elif evidence.held < least_held:
            why = f"it has {evidence.held:.1%} of its objects, not {least_held:.0%}"
            yield FailedCheck(TurnUpCheck.CONTENT, why)

"""Whether clients may be sent to an appliance, and if not, why: the first of these that holds."""

from __future__ import annotations

from dataclasses import dataclass

FULL = "full: what it can still take was given to clients"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of an appliance.

    age_s: since it was heard of. free_bits_per_s: what it says that it can still take, None where
    it does not know; granted: what was given since, likewise. drain: why an operator of the control
    plane keeps clients from it; None where nobody does. lacking: the check that keeps it from
    entering service; empty where it is or was in service.
    """

    age_s: float
    takes_traffic: bool
    state: str
    reason: str
    has_url: bool
    free_bits_per_s: float | None
    granted_bits_per_s: float
    drain: str | None = None
    lacking: str = ""


def find_fault(condition: Condition, ttl_s: float) -> str:
    """Why it gets no clients; empty while it does. ttl_s: how old its last report may be."""
    if condition.age_s > ttl_s:
        return silence_of(ttl_s)
    if condition.drain is not None:
        return f"drained here: {condition.drain or 'by an operator'}"
    if condition.lacking:
        return f"commissioning: {condition.lacking}"
    if not condition.takes_traffic:
        return f"{condition.state or 'withdrawn'}: {condition.reason or 'it takes no clients'}"
    if not condition.has_url:
        return "no address: neither the settings nor its reports say where clients reach it"
    free = condition.free_bits_per_s
    if free is not None and free <= condition.granted_bits_per_s:
        return FULL
    return ""


def silence_of(ttl_s: float) -> str:
    """The fault of one that was not heard of for longer."""
    return f"silent: nothing was heard of it for more than {ttl_s:g} s"

"""What follows from a component's error: a documented list, so that health does no harm. Pure.

Most errors change nothing by themselves. Where a machine is overloaded, it is at its limit and not
broken: those that are here are served, and capacity says that nothing more fits. `/healthz` says no
only where a client is better off at any other appliance: for it, balancers in front answer
everybody with 503.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from ocaserve.health.model import Health, Judgement, Level

NONE_SERVE, DYING = "missing", "deaths"  # subjects of the component `workers`
NO_STORE = "all stores"  # of `stores`
EXPIRED = "expired"  # of `certificates`


class Effect(Enum):
    """What follows. The value is the word in the manual."""

    TURNS_AWAY = "`/healthz` says 503"
    TAKES_NO_MORE = "nothing more fits"


class Consequence(NamedTuple):
    """A row of the list. subject: None where any error of the component has it."""

    component: str
    subject: str | None
    effect: Effect
    reason: str


CONSEQUENCES = (
    Consequence("workers", NONE_SERVE, Effect.TURNS_AWAY, "no worker serves: nobody is answered"),
    Consequence("workers", DYING, Effect.TURNS_AWAY, "workers die again and again, with responses"),
    Consequence("stores", NO_STORE, Effect.TURNS_AWAY, "no store can be read: there is no content"),
    Consequence(
        "certificates", EXPIRED, Effect.TURNS_AWAY, "clients are shown one that has expired"
    ),
    Consequence("workers", None, Effect.TAKES_NO_MORE, "event loops are late: overload"),
    Consequence("cpu", None, Effect.TAKES_NO_MORE, "no processor time is left"),
    Consequence("memory", None, Effect.TAKES_NO_MORE, "processes are soon killed"),
    Consequence("network", None, Effect.TAKES_NO_MORE, "the link is full, or loses packets"),
    Consequence("disk", None, Effect.TAKES_NO_MORE, "disks do not keep up"),
    Consequence("descriptors", None, Effect.TAKES_NO_MORE, "no connection can be accepted soon"),
)  # fmt: skip


def effect_of(finding: Judgement) -> Effect | None:
    """The gravest that follows from a finding; None if nothing does."""
    if finding.level is not Level.ERROR:
        return None
    effects = {
        row.effect
        for row in CONSEQUENCES
        if row.component == finding.component and row.subject in (None, *finding.errors)
    }
    return next((effect for effect in Effect if effect in effects), None)


def find_effect(health: Health, effect: Effect) -> Judgement | None:
    """The first finding from which this follows."""
    return next((each for each in health.findings if effect_of(each) is effect), None)


def describe_consequences(rows: Iterable[Consequence] = CONSEQUENCES) -> str:
    """The list as a Markdown table, for the manual."""
    lines = "".join(
        f"| `{row.component}`{f', {row.subject}' if row.subject else ''} "
        f"| {row.effect.value} | {row.reason} |\n"
        for row in rows
    )
    return f"| error of | what follows | because |\n|---|---|---|\n{lines}"

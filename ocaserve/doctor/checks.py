"""What a check is, and what its readings mean. Nothing is read here."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class HostSource(NamedTuple):
    """What a check reads. `kind` says how, `key` what: ("sysctl", "net.core.somaxconn")."""

    kind: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.key}".rstrip()


class HostValue(NamedTuple):
    """A value of the host. None: the host has no such thing, or does not tell."""

    value: str | None
    subject: str = ""  # which one, where there may be several: a disk, a network card, a store


class Rule(NamedTuple):
    """What is good: in words, and as a test. The test raises ValueError for what it cannot read."""

    good: str
    holds: Callable[[str], bool]


class CheckState(Enum):
    """What a check found."""

    GOOD = "good"
    WRONG = "wrong"
    UNKNOWN = "unknown"  # the host does not have it, or does not tell


@dataclass(frozen=True)
class Check:
    """One thing that a host may have wrong.

    cost: what happens when it is. change: the command that puts it right, for the root user, with
    {subject} for the disk, card or store. The command is never run here.
    """

    name: str
    source: HostSource
    rule: Rule
    cost: str
    change: str


@dataclass(frozen=True)
class CheckResult:
    """A check and what one of its readings came to."""

    check: Check
    reading: HostValue
    state: CheckState

    @property
    def change(self) -> str:
        """The command, for this subject, as a shell takes it."""
        return self.check.change.replace("{subject}", shlex.quote(self.reading.subject))

    def as_json(self) -> dict[str, str | None]:
        """All of it, for programs."""
        return {
            "name": self.check.name,
            "subject": self.reading.subject,
            "state": self.state.value,
            "reads": str(self.check.source),
            "value": self.reading.value,
            "good": self.check.rule.good,
            "cost": self.check.cost,
            "change": self.change,
        }


ReadSource = Callable[[HostSource], Sequence[HostValue]]


def judge_all(checks: Iterable[Check], read: ReadSource) -> Iterator[CheckResult]:
    """Each check with each of its readings; one without any is unknown."""
    for check in checks:
        for reading in read(check.source) or [HostValue(None)]:
            yield CheckResult(check, reading, _judge(check.rule, reading.value))


def _judge(rule: Rule, value: str | None) -> CheckState:
    if value is None:
        return CheckState.UNKNOWN
    try:
        return CheckState.GOOD if rule.holds(value) else CheckState.WRONG
    except (ValueError, IndexError):  # a form that no kernel known to us has
        return CheckState.UNKNOWN

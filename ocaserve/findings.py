"""What is wrong with a configuration: where it stands, what it is, what is allowed, how bad it is.

What is wrong in the file itself is *refused*. What is wrong around it (a disk that is gone, a
certificate that has expired) is *degraded*: the appliance starts, and does without, as long as
there is anything to serve and anywhere to serve it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ocaserve.errors import SettingsError


class Severity(StrEnum):
    """What follows from a finding."""

    REFUSED = "refused"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    key: as `serve.listen[0]`, empty for the file as a whole. value: as the file has it, near
    enough to be found; None where there is none or where it is secret. why: what is wrong, and
    allowed: what it must be; one of them may be empty. file and line are empty and None for what
    was said on the command line. also: other keys that it is about; a fault in one of them
    explains it. is_harmless: what the key is for the rest of the checks is known all the same.
    """

    key: str
    why: str = ""
    value: str | None = None
    allowed: str = ""
    severity: Severity = Severity.REFUSED
    file: str = ""
    line: int | None = None
    also: tuple[str, ...] = ()
    is_harmless: bool = False

    @property
    def place(self) -> str:
        """The file and the line in it, as compilers write them."""
        return self.file if self.line is None else f"{self.file}:{self.line}"

    @property
    def text(self) -> str:
        """All but the place, in one line."""
        key = "".join(each if each.isprintable() else repr(each)[1:-1] for each in self.key)
        name = key if self.value is None else f"{key} = {self.value}"
        allowed = f"must be {self.allowed}" if self.allowed else ""
        said = "; ".join(part for part in (self.why, allowed) if part)
        return f"{name}: {said}" if name else said

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "file": self.file,
            "line": self.line,
            "key": self.key,
            "value": self.value,
            "why": self.why,
            "allowed": self.allowed,
            "severity": self.severity.value,
            "text": str(self),
        }


def is_about(key: str, other: str) -> bool:
    """Whether a key is another one, or stands below it."""
    return key == other or key.startswith((f"{other}.", f"{other}["))


def without_consequences(findings: Iterable[Finding], spoilt: Iterable[str]) -> list[Finding]:
    """Those that are not merely what follows from the faults of other keys."""
    causes = tuple(spoilt)
    return [
        finding
        for finding in findings
        if not any(
            is_about(key, cause) or is_about(cause, key)
            for key in (finding.key, *finding.also)
            for cause in causes
        )
    ]


def refuse(findings: Iterable[Finding]) -> None:
    """Raise SettingsError with those that are refused, if there are any."""
    refused = [finding for finding in findings if finding.severity is Severity.REFUSED]
    if refused:
        raise SettingsError([str(finding) for finding in refused])

"""What is in force, as every process that decides is told of it, and what each tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ocaserve.policies.bundles import Bundle


class PolicyText(Struct, frozen=True, array_like=True):
    """A policy with all its files."""

    name: str
    files: dict[str, str]


class PoliciesInForce(Struct, frozen=True, array_like=True):
    """live: for all clients; canary: in its place, for a part of their networks.

    serial: of the book of releases. release: the canary's number, 0 without; share: of the clients.
    secret: by which sessions are signed.
    """

    serial: int = 0
    live: tuple[PolicyText, ...] = ()
    canary: tuple[PolicyText, ...] = ()
    release: int = 0
    share: float = 0.0
    secret: bytes = b""


def as_texts(bundles: Sequence[Bundle]) -> tuple[PolicyText, ...]:
    return tuple(PolicyText(each.name, dict(each.files)) for each in bundles)


def as_bundles(texts: Sequence[PolicyText]) -> list[Bundle]:
    """They were handed in, so they are judged already."""
    return [Bundle(each.name, each.files) for each in texts]


class FigureRow(Struct, frozen=True, array_like=True):
    """What became of one version since the last time; see `desk.PolicyFigures`."""

    asked: int = 0
    kept: int = 0
    faults: int = 0
    overruns: int = 0
    late: int = 0
    cpu_s: float = 0.0
    worst_s: float = 0.0
    last_fault: str = ""
    last_question: str = ""
    off_because: str = ""


class ArmCounts(Struct, frozen=True, array_like=True):
    """decisions: of clients that somebody hears; unserved: of these, where nobody was left that
    could take it. sessions: that were told of; failed: of these, where a server was left.
    """

    decisions: int = 0
    unserved: int = 0
    sessions: int = 0
    failed: int = 0

    def plus(self, other: ArmCounts) -> ArmCounts:
        return ArmCounts(
            self.decisions + other.decisions, self.unserved + other.unserved,
            self.sessions + other.sessions, self.failed + other.failed,
        )  # fmt: skip


class PolicyNotes(Struct, frozen=True, array_like=True):
    """Since the last time. figures: by version. release: the canary that the two arms are of."""

    figures: dict[str, FigureRow]
    release: int
    canary: ArmCounts
    rest: ArmCounts


def add_figures(
    known: Mapping[str, FigureRow], new: Mapping[str, FigureRow]
) -> dict[str, FigureRow]:
    """Of several processes, or of several times."""
    sums = dict(known)
    for version, row in new.items():
        before = sums.get(version, FigureRow())
        sums[version] = FigureRow(
            asked=before.asked + row.asked, kept=before.kept + row.kept,
            faults=before.faults + row.faults, overruns=before.overruns + row.overruns,
            late=before.late + row.late, cpu_s=before.cpu_s + row.cpu_s,
            worst_s=max(before.worst_s, row.worst_s),
            last_fault=row.last_fault or before.last_fault,
            last_question=row.last_question or before.last_question,
            off_because=row.off_because or before.off_because,
        )  # fmt: skip
    return sums

"""Releases of policies as operators see them."""

from __future__ import annotations

from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.policy_shapes import (
    ArmShown,
    CanaryShown,
    InForceShown,
    PolicyCostShown,
    PolicyOverview,
    ReleaseShown,
    ShadowMove,
    ShadowShown,
)
from ocaserve.policies.in_force import FigureRow
from ocaserve.policies.releases import Release
from ocaserve.policies.trials import ALPHA, SessionOutcomes

_MOST_RELEASES = 50
_MOST_MOVES = 20
_MOST_EVIDENCE = 1e9  # JSON has no infinity


def show_release(release: Release) -> ReleaseShown:
    return ReleaseShown(
        release=release.number, policies=release.policies, by=release.by, note=release.note,
        state=release.state.value, since=release.since, until=release.until, share=release.share,
        why=release.why,
    )  # fmt: skip


def show_overview(office: PolicyOffice) -> PolicyOverview:
    book = office.book
    in_force = [(name, book.find(number)) for name, number in sorted(book.live.items())]
    return PolicyOverview(
        in_force=[
            InForceShown(
                name=name, version=each.policies[name], release=each.number, by=each.by,
                since=each.since,
            )
            for name, each in in_force
        ],
        canary=show_canary(office),
        shadows=show_shadows(office),
        costs=[show_cost(office, version, row) for version, row in office.figures.items()],
        releases=[show_release(each) for each in reversed(book.releases[-_MOST_RELEASES:])],
        restarts=office.restarts,
        fault=office.fault,
    )  # fmt: skip


def show_canary(office: PolicyOffice) -> CanaryShown | None:
    canary, judge = office.book.canary, office.judge
    if canary is None:
        return None
    worst = max(judge.failovers.evidence, judge.unserved.evidence)
    return CanaryShown(
        release=canary.number,
        canary=_show_arm(judge.unserved.canary, judge.failovers.canary),
        rest=_show_arm(judge.unserved.rest, judge.failovers.rest),
        evidence=round(min(worst, _MOST_EVIDENCE), 3),
        enough=1 / ALPHA,
    )


def _show_arm(decisions: SessionOutcomes, sessions: SessionOutcomes) -> ArmShown:
    return ArmShown(
        decisions=decisions.sessions, unserved=decisions.failures,
        sessions=sessions.sessions, failed=sessions.failures,
    )  # fmt: skip


def show_shadows(office: PolicyOffice) -> list[ShadowShown]:
    return [
        ShadowShown(
            release=number, compared=each.compared, moved=each.moved, unserved=each.unserved,
            moves=[
                ShadowMove(source=source, target=target, decisions=count)
                for (source, target), count in each.moves.most_common(_MOST_MOVES)
            ],
        )
        for number, each in sorted(office.shadows.figures.items())
    ]  # fmt: skip


def show_cost(office: PolicyOffice, version: str, row: FigureRow) -> PolicyCostShown:
    bundle = office.texts.get(version)
    return PolicyCostShown(
        name=bundle.name if bundle else "", version=version, asked=row.asked, from_memory=row.kept,
        faults=row.faults, overruns=row.overruns, late=row.late,
        mean_us=round(row.cpu_s / row.asked * 1e6, 1) if row.asked else 0.0,
        worst_us=round(row.worst_s * 1e6, 1), last_fault=row.last_fault,
        last_question=row.last_question, switched_off=row.off_because,
    )  # fmt: skip

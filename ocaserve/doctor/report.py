"""Findings in words, and for programs."""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.doctor.checks import CheckResult, CheckState


def as_json(findings: Sequence[CheckResult]) -> dict[str, object]:
    """`good` is what the exit status says."""
    return {"good": is_good(findings), "checks": [finding.as_json() for finding in findings]}


def is_good(findings: Sequence[CheckResult]) -> bool:
    """What the host does not tell is not held against it."""
    return all(finding.state is not CheckState.WRONG for finding in findings)


def describe(findings: Sequence[CheckResult], *, verbose: bool) -> str:
    """What is wrong, with cost and cure, and a line that counts; all of it when `verbose`."""
    shown = [_describe_one(f) for f in findings if verbose or f.state is CheckState.WRONG]
    counts = {state: sum(f.state is state for f in findings) for state in CheckState}
    total = (
        f"{len(findings)} checks: {counts[CheckState.WRONG]} wrong, "
        f"{counts[CheckState.GOOD]} good, {counts[CheckState.UNKNOWN]} not told by this host"
    )
    return "\n".join([*shown, total])


def _describe_one(finding: CheckResult) -> str:
    check, reading = finding.check, finding.reading
    subject = f" ({reading.subject})" if reading.subject else ""
    value = "not told" if reading.value is None else reading.value
    lines = [
        f"{finding.state.value:<8}{check.name}{subject}: {check.source} is {value}",
        f"    good is    {check.rule.good}",
    ]
    if finding.state is CheckState.WRONG:
        lines += [f"    it costs   {check.cost}", f"    change it  {finding.change}", ""]
    return "\n".join(lines)

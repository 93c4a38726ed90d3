"""What is wrong with a configuration, without where it stands."""

from __future__ import annotations

from ocaserve.checking import examine


def refused_of(file: str) -> list[str]:
    """The faults that keep the appliance from starting."""
    return [each.text for each in examine(base=file).refused]


def degraded_of(file: str) -> list[str]:
    """What it would start without."""
    return [each.text for each in examine(base=file).degraded]


def faults_of(file: str) -> list[str]:
    """Both, as they stand in the file; each names it."""
    findings = examine(base=file).findings
    assert all(each.file == file for each in findings)
    return [each.text for each in findings]

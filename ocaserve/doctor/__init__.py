"""Looks at the host for what would make the appliance slow, wrong or dead; changes nothing.

`checks` holds what a check is and judges readings; `rules` says what good values are; `everywhere`,
`linux` and `freebsd` are the tables of checks, with a reason for each. They name what to read by
kind and key; `host` and the modules beside it read, so a test can hand in readings of a host that
it has not got.
"""

from __future__ import annotations

from collections.abc import Sequence

from ocaserve.doctor.checks import Check, CheckResult, CheckState, HostSource, HostValue, judge_all
from ocaserve.doctor.everywhere import common_checks
from ocaserve.doctor.freebsd import freebsd_checks
from ocaserve.doctor.linux import linux_checks
from ocaserve.doctor.needs import Needs

__all__ = [
    "Check",
    "CheckResult",
    "CheckState",
    "HostSource",
    "HostValue",
    "Needs",
    "checks_for",
    "judge_all",
]  # fmt: skip


def checks_for(system: str, needs: Needs) -> Sequence[Check]:
    """The checks for "linux" or "freebsd14" (as sys.platform says it)."""
    is_freebsd = system.startswith("freebsd")
    own = freebsd_checks if is_freebsd else linux_checks
    return (*common_checks(needs, is_freebsd=is_freebsd), *own(needs))

"""`[report]`: what the control plane is told without asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Struct

from ocaserve.findings import Finding
from ocaserve.schema import number, text


class ReportSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where reports are pushed to. The control plane may as well fetch them."""

    push_url: Annotated[
        str,
        text(
            "an http or https URL",
            "that takes a POST of the report, later of changes; empty for none",
        ),
    ] = ""
    interval_s: Annotated[
        float,
        number(
            "seconds", 1, 3_600,
            "between two pushes while nothing changes; a change is pushed within a second",
        ),
    ] = 30.0  # fmt: skip
    token_file: Annotated[
        str,
        text(
            "a file",
            "with the bearer token for `push_url` alone in its first line, read at each push; "
            "only its owner may read it",
        ),
    ] = ""
    timeout_s: Annotated[
        float,
        number("seconds", 1, 3_600, "for one push; a report of a million routes has about 5 MB"),
    ] = 30.0
    lost_after_s: Annotated[
        float,
        number(
            "seconds", 1, 86_400,
            "without a push that was taken, after which the control plane is lost: an error of "
            "health, and `drain.lost_contact` says what follows",
        ),
    ] = 300.0  # fmt: skip


def find_report_faults(report: ReportSettings, warning_s: float | None) -> Iterator[Finding]:
    """What single values do not show. warning_s: `health.contact_warning_s`, if it was set."""
    if report.push_url:
        yield from _find_url_faults(report.push_url)
    if warning_s is not None and warning_s > report.lost_after_s:
        yield Finding(
            "health.contact_warning_s", "", str(warning_s),
            f"at most report.lost_after_s = {report.lost_after_s}, where it is an error",
            also=("report.lost_after_s",),
        )  # fmt: skip


def _find_url_faults(url: str) -> Iterator[Finding]:
    key, allowed = "report.push_url", "an http or https URL"
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError as error:
        yield Finding(key, f"not a URL ({error})", allowed=allowed)
        return
    if parts.username or parts.password:
        yield Finding(key, "must not hold a password; use report.token_file")
    elif not is_one or any(ord(each) <= 0x20 for each in url):
        yield Finding(key, "", repr(url), allowed)


def read_push_token(file: str) -> str:
    """The token in the first line; empty without a file. Raises OSError."""
    return Path(file).read_text("ascii").partition("\n")[0].strip() if file else ""

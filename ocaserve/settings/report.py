"""`[report]`: what the control plane is told without asking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Struct

from ocaserve.schema import number, text
from ocaserve.settings.secrecy import OWNER_ONLY, is_owners_only


class Report(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
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


def find_report_faults(report: Report) -> Iterator[str]:
    """A line for each fault, naming key, value and what is allowed."""
    if report.push_url:
        parts = urlsplit(report.push_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield f"report.push_url = {report.push_url!r}: must be an http or https URL"
        elif parts.username or parts.password:
            yield "report.push_url: must not hold a password; use report.token_file"
    if report.token_file:
        where = f"report.token_file = {report.token_file!r}"
        try:
            if not is_owners_only(report.token_file):
                yield f"{where}: {OWNER_ONLY}"
        except OSError as error:
            yield f"{where}: {error.strerror}"


def read_push_token(file: str) -> str:
    """The token in the first line; empty without a file. Raises OSError."""
    return Path(file).read_text("ascii").partition("\n")[0].strip() if file else ""

"""Options that several commands have, so that they mean the same everywhere.

Which configuration: `--config`; else `OCASERVE_CONFIG`; else the file of the service, where it is
there and may be read. What stands on the command line comes before the environment, and that before
the file of the service.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

CONFIG_VARIABLE = "OCASERVE_CONFIG"
CONTROL_VARIABLE = "OCASERVE_CONTROL"
SERVICE_CONFIG = (
    "/usr/local/etc/ocaserve/ocaserve.toml"
    if sys.platform.startswith("freebsd")
    else "/etc/ocaserve/ocaserve.toml"
)

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"(?:\d+[smhdw])+\Z|\d+\Z", re.ASCII)
_MOST_SPAN_S = 100 * 365 * 86_400


def config_option(help_: str = "Configuration file (TOML).") -> Callable[[F], F]:
    """`-c`, `--config`. What it stands for without being given says `find_config`."""
    return click.option(
        "-c",
        "--config",
        type=click.Path(dir_okay=False),
        metavar="FILE",
        help=f"{help_}  [env: {CONFIG_VARIABLE}; default: {SERVICE_CONFIG}, if there]",
    )


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def find_config(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The configuration that is meant, None without one."""
    named = given or environment.get(CONFIG_VARIABLE)
    if named:
        return named
    return SERVICE_CONFIG if os.access(SERVICE_CONFIG, os.R_OK) else None


def require_config(given: str | None) -> str:
    """The same, where there must be one. Raises click.UsageError."""
    found = find_config(given)
    if found is None:
        raise click.UsageError(
            f"name a configuration with -c or {CONFIG_VARIABLE}; {SERVICE_CONFIG} is not there"
        )
    return found


def typed(parse: Callable[[str], T]) -> Callable[[click.Context, click.Parameter, Any], T | None]:
    """The callback of an option whose values are parsed; what is wrong names the option."""

    def callback(_: click.Context, parameter: click.Parameter, value: Any) -> T | None:
        try:
            return None if value is None else parse(value)
        except click.BadParameter as error:
            raise click.UsageError(f"{parameter.opts[0]} {error.message}") from None

    return callback


def span(value: str) -> timedelta:
    """The type of an option: `90s`, `30m`, `1h30m`, `7d`, or a number of seconds."""
    found = parse_span(value)
    if not found:
        raise click.BadParameter(f"{value!r}: must be a span such as 90s, 30m, 1h30m or 7d")
    return found


def moment_ahead(value: str) -> datetime:
    """The type of an option: a time of ISO 8601, local without a zone, or a span from now on."""
    return _moment(value, 1)


def moment_past(value: str) -> datetime:
    """The same, a span before now."""
    return _moment(value, -1)


def _moment(value: str, sign: int) -> datetime:
    found = parse_span(value)
    try:
        if found is not None:
            return datetime.now(UTC) + sign * found
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r}: must be a time such as 2030-01-31T06:00, or a span such as 90m or 7d"
        ) from None


def parse_span(text: str) -> timedelta | None:
    """`90s`, `30m`, `1h30m`, `7d`, `2w`, or seconds as a number; None if it is none of them."""
    if not _SPAN.match(text):
        return None
    parts = re.findall(r"(\d+)([smhdw]?)", text)
    seconds = sum(int(number) * _UNITS[unit or "s"] for number, unit in parts)
    return timedelta(seconds=seconds) if seconds <= _MOST_SPAN_S else None


def show_time(text: str | None) -> str:
    """A time of the API as all of the appliance shows it, in UTC; empty without one."""
    if text is None:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def check_open(descriptor: int) -> None:
    """Else it would be the number of the next thing that is opened. Raises click.UsageError."""
    try:
        os.set_inheritable(descriptor, False)
    except OSError as error:
        raise click.UsageError(f"--ready-fd {descriptor}: {error.strerror}") from error

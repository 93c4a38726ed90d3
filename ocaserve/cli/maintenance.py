"""`maintenance`: times at which the appliance takes itself out of service, and comes back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from ocaserve.cli.client import appliance_options, ask, connect
from ocaserve.cli.options import json_option, moment_ahead, parse_span, show_time
from ocaserve.cli.output import print_json, print_line


@click.group()
def maintenance() -> None:
    """Plan times at which the appliance is out of service."""


@maintenance.command()
@click.argument("start")
@click.argument("end")
@click.option("--reason", default="", help="Why, for those who will ask.")
@json_option
@appliance_options
def add(
    start: str,
    end: str,
    reason: str,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """Have the appliance drain at START and serve again at END.

    START is a time such as 2030-01-31T02:00, a span from now on such as 90m, or "now"; END a time,
    or a span from START on.
    """
    begin = datetime.now(UTC) if start == "now" else moment_ahead(start)
    length = parse_span(end)
    over = begin + length if length is not None else moment_ahead(end)
    wanted = {"start": begin.isoformat(), "end": over.isoformat(), "reason": reason}
    client = connect(config, control, token_file)
    window = ask(lambda: client.post("/v1/maintenance", wanted))
    print_json(window) if as_json else print_line(describe_window(window))


@maintenance.command(name="list")
@json_option
@appliance_options
def list_(as_json: bool, config: str | None, control: str | None, token_file: str | None) -> None:
    """Show the windows that are not over."""
    client = connect(config, control, token_file)
    found = ask(lambda: client.get("/v1/maintenance"))
    if as_json:
        print_json(found)
        return
    if not found["windows"]:
        print_line("no maintenance window is planned")
    for window in found["windows"]:
        print_line(describe_window(window))


@maintenance.command()
@click.argument("window", metavar="ID")
@json_option
@appliance_options
def cancel(
    window: str, as_json: bool, config: str | None, control: str | None, token_file: str | None
) -> None:
    """Cancel a window; one that has begun ends now."""
    client = connect(config, control, token_file)
    ask(lambda: client.delete(f"/v1/maintenance/{quote(window, safe='')}"))
    print_json({"cancelled": window}) if as_json else print_line(f"{window}: cancelled")


def describe_window(window: dict[str, Any]) -> str:
    """One line: its name, its times, whether it is on, why."""
    on = ", has begun" if window["has_begun"] else ""
    reason = f": {window['reason']}" if window["reason"] else ""
    times = f"from {show_time(window['start'])} to {show_time(window['end'])}"
    return f"{window['id']}  {times}{on}{reason}"

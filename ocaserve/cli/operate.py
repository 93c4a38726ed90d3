"""`drain`, `enable`, `reload`: having the running appliance change."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

from ocaserve.cli.client import ControlClient, appliance_options, ask, connect, find_appliance
from ocaserve.cli.options import json_option, moment_ahead, show_time, typed
from ocaserve.cli.output import ProgressBar, fail, print_json, print_line, quantity
from ocaserve.errors import OcaserveError

_POLL_S = 0.5
_RELOAD_S = 60.0
_SILENCE_S = 10.0  # of a control process that is replaced, which takes a second or two
_BY_SIGNAL = "where [control] has changed, `systemctl reload ocaserve` (SIGHUP) has it read"


@click.command()
@appliance_options
@click.option("--reason", default="", help="Why, for those who will ask.")
@click.option(
    "--until",
    callback=typed(moment_ahead),
    metavar="TIME",
    help="When it ends by itself: 2030-01-31T06:00, or 90m.",
)
@click.option(
    "--deadline",
    callback=typed(moment_ahead),
    metavar="TIME",
    help="When new requests are turned away.",
)
@click.option("--wait", is_flag=True, help="Wait until it is drained, and show how it goes on.")
@json_option
def drain(
    config: str | None,
    control: str | None,
    token_file: str | None,
    reason: str,
    until: datetime | None,
    deadline: datetime | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Take the appliance out of service without cutting a client."""
    client = connect(config, control, token_file)
    wanted = {
        "reason": reason,
        "until": until.isoformat() if until else None,
        "deadline": deadline.isoformat() if deadline else None,
    }
    found = ask(lambda: client.post("/v1/drain", wanted))
    if wait:
        found = _wait_for_drain(client, found)
    _tell(found, as_json)
    if wait and found["state"] != "drained":
        sys.exit(1)


def _wait_for_drain(client: ControlClient, found: dict[str, Any]) -> dict[str, Any]:
    """Until it is drained, or something else. The control process may be replaced meanwhile."""
    progress = ProgressBar()
    silent_since = None
    try:
        while found["state"] == "draining":
            progress.show(_describe_drain(found))
            time.sleep(_POLL_S)
            try:
                found = client.get("/v1/status")
                silent_since = None
            except OcaserveError as error:
                silent_since = silent_since or time.monotonic()
                if time.monotonic() - silent_since > _SILENCE_S:
                    fail(error)
    finally:
        progress.end()
    return found


def _describe_drain(found: dict[str, Any]) -> str:
    deadline = found["drain_deadline"]
    turns_away = f"; turns new requests away from {show_time(deadline)} on" if deadline else ""
    sent = quantity(found["bits_per_s"], "bit/s")
    return f"draining: {found['connections']:,} connections, {sent} sent{turns_away}"


@click.command()
@appliance_options
@json_option
def enable(config: str | None, control: str | None, token_file: str | None, as_json: bool) -> None:
    """Take the appliance back into service."""
    client = connect(config, control, token_file)
    _tell(ask(lambda: client.post("/v1/enable")), as_json)


@click.command()
@appliance_options
@json_option
def reload(config: str | None, control: str | None, token_file: str | None, as_json: bool) -> None:
    """Have the appliance read its settings again; no client is cut."""
    client = connect(config, control, token_file)
    try:
        before = client.get("/v1/reload")["at"]
        client.post("/v1/reload")
    except OcaserveError as error:
        fail(OcaserveError(f"{error}\n{_BY_SIGNAL}"))
    clients = [client, client.without_token()]
    config, _ = find_appliance(config, control)
    if config is not None:
        clients.append(connect(config, None, None))
    found = ask(lambda: _wait_for_reload(clients, before))
    if as_json:
        print_json(found)
    elif found["outcome"] == "done":
        print_line("reloaded")
        for fault in found["faults"]:
            click.echo(f"goes on in spite of: {fault}", err=True)
    if found["outcome"] != "done":
        fail(OcaserveError("\n".join([f"reload {found['outcome']}", *found["faults"]])))


def _wait_for_reload(clients: Sequence[ControlClient], before: str | None) -> dict[str, Any]:
    """The outcome. It may bring another address, or other tokens: one of the clients has them.

    Raises OcaserveError.
    """
    last_chance = time.monotonic() + _RELOAD_S
    silent_since = None
    while time.monotonic() < last_chance:
        found, why = _ask_in_turn(clients, "/v1/reload")
        if found is None:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _SILENCE_S:
                raise OcaserveError(
                    f"the reload was begun, and nothing is heard of it since: {why}"
                )
        elif found["at"] != before and found["outcome"] != "running":
            return found
        else:
            silent_since = None
        time.sleep(_POLL_S)
    raise OcaserveError(f"the reload has not ended within {_RELOAD_S:g} s")


def _ask_in_turn(clients: Sequence[ControlClient], path: str) -> tuple[dict[str, Any] | None, str]:
    """What the first says that is answered; or why the last one is not."""
    why = ""
    for client in clients:
        try:
            return client.get(path), ""
        except OcaserveError as error:
            why = str(error)
    return None, why


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    until = f" until {found['drain_until']}" if found["drain_until"] else ""
    reason = f": {found['reason']}" if found["reason"] else ""
    print_line(f"{found['id']}: {found['state']}{until}{reason}")

"""`status`, `drain`, `enable`, `reload`: talking to the running appliance."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocaserve.cli.client import Client, appliance_options, connect
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from rich.console import RenderableType

T = TypeVar("T")

_POLL_S = 0.5
_WATCH_S = 1.0
_RELOAD_S = 60.0
_SILENCE_S = 10.0  # of a control process that is replaced, which takes a second or two
_BY_SIGNAL = "where [control] has changed, `systemctl reload ocaserve` (SIGHUP) has it read"
_LEVELS = {"ok": "green", "warning": "yellow", "error": "red"}
_COLOURS = {"serving": "green", "starting": "yellow", "draining": "yellow", "drained": "blue"}


@click.command()
@appliance_options
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(
    config: str | None, control: str | None, token_file: str | None, watch: bool, as_json: bool
) -> None:
    """Show how the appliance is. Status 1 when clients should not be sent there."""
    client = connect(config, control, token_file)
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    if watch:
        _watch(client)
        return
    found = _ask(lambda: client.get("/v1/status"))
    if as_json:
        print_json(found)
    else:
        _print(_ask(lambda: _look(client)))
    sys.exit(0 if found["takes_traffic"] else 1)


@click.command()
@appliance_options
@click.option("--reason", default="", help="Why, for those who will ask.")
@click.option("--until", metavar="TIME", help="When it ends by itself: 2030-01-31T06:00, or 90m.")
@click.option("--deadline", metavar="TIME", help="When new requests are turned away.")
@click.option("--wait", is_flag=True, help="Wait until it is drained.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def drain(
    config: str | None,
    control: str | None,
    token_file: str | None,
    reason: str,
    until: str | None,
    deadline: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Take the appliance out of service without cutting a client."""
    client = connect(config, control, token_file)
    wanted = {
        "reason": reason,
        "until": _parse_time("--until", until),
        "deadline": _parse_time("--deadline", deadline),
    }
    found = _ask(lambda: client.post("/v1/drain", wanted))
    while wait and found["state"] == "draining":
        time.sleep(_POLL_S)
        found = _ask(lambda: client.get("/v1/status"))
    _tell(found, as_json)
    if wait and found["state"] != "drained":
        sys.exit(1)


@click.command()
@appliance_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def enable(config: str | None, control: str | None, token_file: str | None, as_json: bool) -> None:
    """Take the appliance back into service."""
    client = connect(config, control, token_file)
    _tell(_ask(lambda: client.post("/v1/enable")), as_json)


@click.command()
@appliance_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reload(config: str | None, control: str | None, token_file: str | None, as_json: bool) -> None:
    """Have the appliance read its settings again; no client is cut."""
    client = connect(config, control, token_file)
    try:
        before = client.get("/v1/reload")["at"]
        client.post("/v1/reload")
    except OcaserveError as error:
        fail(OcaserveError(f"{error}\n{_BY_SIGNAL}"))
    clients = [client, client.without_token()]
    if config is not None:
        clients.append(connect(config, None, None))
    found = _ask(lambda: _wait_for_reload(clients, before))
    if as_json:
        print_json(found)
    elif found["outcome"] == "done":
        click.echo("reloaded")
    if found["outcome"] != "done":
        fail(OcaserveError("\n".join([f"reload {found['outcome']}", *found["faults"]])))


def _wait_for_reload(clients: Sequence[Client], before: str | None) -> dict[str, Any]:
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


def _ask_in_turn(clients: Sequence[Client], path: str) -> tuple[dict[str, Any] | None, str]:
    """What the first says that is answered; or why the last one is not."""
    why = ""
    for client in clients:
        try:
            return client.get(path), ""
        except OcaserveError as error:
            why = str(error)
    return None, why


# -- asking and telling --------------------------------------------------------------------------


def _ask(call: Callable[[], T]) -> T:
    try:
        return call()
    except OcaserveError as error:
        fail(error)


def _tell(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    until = f" until {found['drain_until']}" if found["drain_until"] else ""
    reason = f": {found['reason']}" if found["reason"] else ""
    click.echo(f"{found['id']}: {found['state']}{until}{reason}")


def _parse_time(option: str, given: str | None) -> str | None:
    """A time as RFC 3339, from an ISO 8601 one or from a span: 90s, 30m, 2h, 1d."""
    if given is None:
        return None
    units = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
    try:
        if given[-1:] in units and given[:-1].isdigit():
            span = timedelta(seconds=int(given[:-1]) * units[given[-1]])
            return (datetime.now(UTC) + span).isoformat()
        return datetime.fromisoformat(given).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"{option} {given!r}: must be a time such as 2030-01-31T06:00, or a span such as 90m"
        ) from None


# -- the screen ----------------------------------------------------------------------------------


def _watch(client: Client) -> None:
    from rich.live import Live

    try:
        with Live(_ask_once(lambda: _look(client)), screen=False, auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_S)
                live.update(_ask_once(lambda: _look(client)), refresh=True)
    except KeyboardInterrupt:
        return


def _look(client: Client) -> RenderableType:
    return _draw(client.get("/v1/status"), client.get("/v1/health"), client.get("/v1/workers"))


def _ask_once(look: Callable[[], RenderableType]) -> RenderableType:
    """What is seen, or why there is nothing to be seen now: it may come back."""
    try:
        return look()
    except OcaserveError as error:
        return str(error)


def _print(drawn: RenderableType) -> None:
    from rich.console import Console

    Console().print(drawn)


def _draw(
    status: dict[str, Any], health: dict[str, Any], workers: dict[str, Any]
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(status):
        colour = _COLOURS.get(status["state"], "red") if name == "state" else ""
        facts.add_row(Text(name, style="dim"), Text(value, style=colour))
    said = "; ".join([health["level"], *health["reasons"]])
    facts.add_row(Text("health", style="dim"), Text(said, style=_LEVELS[health["level"]]))
    rows = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("worker", "pid", "state", "connections", "open files", "loop lag"):
        rows.add_column(title, justify="left" if title == "state" else "right")
    for worker in workers["workers"]:
        rows.add_row(
            str(worker["place"]), str(worker["pid"]), worker["state"],
            f"{worker['connections']:,}", f"{worker['open_files']:,}",
            f"{worker['loop_lag_s'] * 1e3:.1f} ms",
        )  # fmt: skip
    return Group(facts, Text(), rows)


def _facts(status: dict[str, Any]) -> list[tuple[str, str]]:
    site = f" at {status['site']}" if status["site"] else ""
    reason = f" ({status['reason']})" if status["reason"] else ""
    facts = [
        ("appliance", f"{status['id']}{site}, version {status['version']}"),
        ("state", f"{status['state']}{reason} since {_local(status['since'])}"),
        ("until", _local(status["drain_until"])),
        ("turns away", _local(status["drain_deadline"])),
        ("listens on", ", ".join(status["listen"])),
        ("sends", f"{_bits(status['bits_per_s'])} in {status['requests_per_s']:,} responses/s"),
        ("connections", f"{status['connections']:,}"),
    ]
    return [(name, value) for name, value in facts if value]


def _local(time_: str | None) -> str:
    if time_ is None:
        return ""
    return datetime.fromisoformat(time_).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _bits(number: float) -> str:
    for unit in ("bit/s", "kbit/s", "Mbit/s"):
        if number < 1_000:
            return f"{number:.3g} {unit}"
        number /= 1_000
    return f"{number:.3g} Gbit/s"

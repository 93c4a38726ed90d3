"""`status`: the appliance on one screen."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from ocaserve.cli.client import ControlClient, appliance_options, ask, connect
from ocaserve.cli.maintenance import describe_window
from ocaserve.cli.options import json_option, show_time
from ocaserve.cli.output import print_json, quantity
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

_WATCH_S = 1.0
_MOST_STORES = 12  # shown on one screen; of more, those first that are not well
_LEVELS = {"ok": "green", "warning": "yellow", "error": "red"}
_COLOURS = {"serving": "green", "starting": "yellow", "draining": "yellow", "drained": "blue"}
_WAYS = {
    "sendfile_hot": "from memory",
    "sendfile_cold": "from disk",
    "ktls": "by TLS in the kernel",
    "copied": "copied",
}


@click.command()
@appliance_options
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@json_option
def status(
    config: str | None, control: str | None, token_file: str | None, watch: bool, as_json: bool
) -> None:
    """Show how the appliance is: state, health, rates, stores, routes.

    Status 1 when clients should not be sent there.
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    client = connect(config, control, token_file)
    if watch:
        _watch(client)
        return
    found = ask(lambda: client.get("/v1/status"))
    if as_json:
        print_json(found)
    else:
        from rich.console import Console

        Console().print(ask(lambda: _look(client)))
    sys.exit(0 if found["takes_traffic"] else 1)


def _watch(client: ControlClient) -> None:
    from rich.live import Live

    try:
        with Live(_ask_once(lambda: _look(client)), screen=False, auto_refresh=False) as live:
            while True:
                time.sleep(_WATCH_S)
                live.update(_ask_once(lambda: _look(client)), refresh=True)
    except KeyboardInterrupt:
        return


def _ask_once(look: Callable[[], RenderableType]) -> RenderableType:
    """What is seen, or why there is nothing to be seen now: it may come back."""
    try:
        return look()
    except OcaserveError as error:
        return str(error)


def _look(client: ControlClient) -> RenderableType:
    return _draw(
        client.get("/v1/status"),
        client.get("/v1/maintenance")["windows"],
        client.get("/v1/stores")["stores"],
        client.get("/v1/workers")["workers"],
    )


def _draw(
    status: dict[str, Any],
    windows: list[dict[str, Any]],
    stores: list[dict[str, Any]],
    workers: list[dict[str, Any]],
) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    facts = Table.grid(padding=(0, 2))
    colours = {
        "state": _COLOURS.get(status["state"], "red"),
        "health": _LEVELS[status["health"]["level"]],
    }
    for name, value in _facts(status, windows):
        if value:
            facts.add_row(Text(name, style="dim"), Text(value, style=colours.get(name, "")))
    return Group(facts, Text(), _draw_stores(stores), Text(), _draw_workers(workers))


def _facts(status: dict[str, Any], windows: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    site = f" at {status['site']}" if status["site"] else ""
    yield "appliance", f"{status['id']}{site}, version {status['version']}"
    reasons = "; ".join(dict.fromkeys(filter(None, (status["why"], status["reason"]))))
    why = f" ({reasons})" if reasons else ""
    yield "state", f"{status['state']}{why} since {show_time(status['since'])}"
    yield "until", show_time(status["drain_until"])
    yield "turns away", show_time(status["drain_deadline"])
    yield "maintenance", describe_window(windows[0]) if windows else ""
    health = status["health"]
    yield "health", "; ".join([health["level"], *health["reasons"]])
    yield "listens on", ", ".join(status["listen"])
    yield "capacity", _capacity(status["capacity"])
    rates = status["rates"]
    yield (
        "sends",
        f"{quantity(status['bits_per_s'], 'bit/s')} in {status['requests_per_s']:,} responses/s",
    )
    yield (
        "connections",
        f"{status['connections']:,}, {rates['accepted']:,} new/s",
    )
    yield "bytes come", _shares(status["shares"])
    yield "disks", f"{rates['cold_reads']:,} reads/s, {rates['lookup_misses']:,} look-ups/s"
    yield "errors", _errors(status["errors"], rates)
    yield "routes", _routes(status["routes"])
    yield "pinned", _pinned(status["pinned"])


def _capacity(capacity: dict[str, Any]) -> str:
    free, total = capacity["free_bits_per_s"], capacity["total_bits_per_s"]
    connections = f"{capacity['free_connections']:,} connections free"
    if free is None or total is None:
        return connections
    share = f"{quantity(free, 'bit/s')} of {quantity(total, 'bit/s')} free"
    return f"{share}, {connections}; the bound is {capacity['limited_by']}"


def _shares(shares: dict[str, float] | None) -> str:
    if shares is None:
        return ""
    parts = [f"{share:.0%} {_WAYS.get(way, way)}" for way, share in shares.items() if share]
    return ", ".join(parts)


def _errors(errors: dict[str, int], rates: dict[str, float]) -> str:
    return (
        f"{rates['responses_4xx']:g} 4xx/s, {rates['responses_5xx']:g} 5xx/s; since the start "
        f"{errors['responses_4xx']:,} 4xx, {errors['responses_5xx']:,} 5xx, "
        f"{errors['connections']:,} connections, {errors['stores']:,} of stores"
    )


def _routes(routes: dict[str, Any] | None) -> str:
    if routes is None:
        return "none: [bgp] has no neighbors"
    whole = "complete" if routes["complete"] else "not complete"
    return (
        f"{routes['accepted']:,} accepted, {routes['filtered']:,} not used, {whole}; "
        f"{routes['peers_up']} of {routes['peers']} sessions up"
    )


def _pinned(pinned: dict[str, Any] | None) -> str:
    if pinned is None:
        return ""
    of = quantity(pinned["wanted_bytes"], "B")
    fault = f"; {pinned['fault']}" if pinned["fault"] else ""
    return f"{pinned['objects']:,} objects, {quantity(pinned['bytes'], 'B')} of {of}{fault}"


def _new_table(*titles: str) -> Table:
    """With titles, of which those behind a `<` have their words at the left."""
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(
            title.removeprefix("<"), justify="left" if title.startswith("<") else "right"
        )
    return table


def _draw_stores(stores: list[dict[str, Any]]) -> RenderableType:
    from rich.text import Text

    table = _new_table("<store", "<state", "free", "size", "sent")
    worst_first = sorted(stores, key=lambda store: store["level"] == "ok")
    for store in worst_first[:_MOST_STORES]:
        said = "; ".join(filter(None, (store["level"], store["reason"])))
        table.add_row(
            store["path"],
            Text(said, style=_LEVELS[store["level"]]),
            _size(store["free_bytes"]),
            _size(store["size_bytes"]),
            _size(store["bytes"]),
        )
    left = len(stores) - _MOST_STORES
    if left > 0:
        table.add_row(f"and {left} more", "", "", "", "")
    return table


def _size(number: int | None) -> str:
    return "" if number is None else quantity(number, "B")


def _draw_workers(workers: list[dict[str, Any]]) -> RenderableType:
    table = _new_table("worker", "pid", "<state", "connections", "open files", "loop lag")
    for worker in workers:
        table.add_row(
            str(worker["place"]),
            str(worker["pid"]),
            worker["state"],
            f"{worker['connections']:,}",
            f"{worker['open_files']:,}",
            f"{worker['loop_lag_s'] * 1e3:.1f} ms",
        )
    return table

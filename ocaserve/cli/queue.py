"""`queue`: the delay queues of a running appliance, from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click

from ocaserve.cli.client import ControlClient, appliance_options, connect
from ocaserve.cli.options import json_option, span, typed
from ocaserve.cli.output import fail, print_json, print_line
from ocaserve.errors import OcaserveError

Answer = TypeVar("Answer")

_AT_ONCE = 1_000
_STATES = ("ready", "delayed", "held", "buried")
_SIZES = "{:<32} {:>10} {:>10} {:>8} {:>8} {:>12}"


@click.group()
def queue() -> None:
    """Work with delay queues: at-least-once, with delays and priorities."""


def _path(name: str, what: str = "") -> str:
    return f"/v1/queues/{quote(name, safe='')}{what}"


def _seconds(given: timedelta | None) -> float:
    return 0.0 if given is None else given.total_seconds()


def _ask(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except OcaserveError as error:
        fail(error)


@queue.command()
@click.argument("name", required=False)
@appliance_options
@json_option
def sizes(
    name: str | None, config: str | None, control: str | None, token_file: str | None, as_json: bool
) -> None:
    """Count messages by state, of one queue or of all."""
    client = connect(config, control, token_file)
    if name is None:
        found = _ask(lambda: client.get("/v1/queues"))
        rows = {each["name"]: each["sizes"] for each in found["queues"]}
    else:
        found = _ask(lambda: client.get(_path(name)))
        rows = {name: found}
    if as_json:
        print_json(found)
        return
    print_line(_SIZES.format("queue", "ready", "delayed", "held", "buried", "oldest ready"))
    for each, row in rows.items():
        age = row["oldest_ready_s"]
        oldest = "-" if age is None else str(timedelta(seconds=round(age)))
        print_line(_SIZES.format(each, *(f"{row[state]:,}" for state in _STATES), oldest))


@queue.command()
@click.argument("name")
@click.option("--state", type=click.Choice(_STATES), default="ready", show_default=True)
@click.option("-n", type=click.IntRange(1, _AT_ONCE), default=20, show_default=True)
@appliance_options
@json_option
def peek(
    name: str,
    state: str,
    n: int,
    config: str | None,
    control: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Look at the first messages of a state; nothing of them changes."""
    client = connect(config, control, token_file)
    query = urlencode({"state": state, "n": n})
    found = _ask(lambda: client.get(_path(name, f"/messages?{query}")))
    if as_json:
        print_json(found)
        return
    for each in found["messages"]:
        due = each["due"]
        when = "" if due is None else f", {datetime.fromtimestamp(due, UTC):%Y-%m-%d %H:%M:%S} UTC"
        tries = f"{each['tries']} of {each['max_tries']} tries"
        print_line(f"{each['id']}  priority {each['priority']}, {tries}{when}")
        if each["reason"]:
            print_line(f"  {each['reason']}")
        print_line(f"  {json.dumps(each['body'], ensure_ascii=False)}")


@queue.command()
@click.argument("name")
@click.argument("body", nargs=-1)
@click.option("--id", "message_id", help="Its name, where there is one message.")
@click.option("--delay", callback=typed(span), help="Due after this: 90s, 30m, 2h.")
@click.option("--priority", type=click.IntRange(0, 99), default=50, show_default=True)
@click.option("--max-tries", type=click.IntRange(1), default=20, show_default=True)
@appliance_options
@json_option
def push(
    name: str,
    body: tuple[str, ...],
    message_id: str | None,
    delay: timedelta | None,
    priority: int,
    max_tries: int,
    config: str | None,
    control: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Push messages. BODY is JSON, or a text; without one, each line of standard input is."""
    bodies = [_body(text) for text in body or _lines()]
    if message_id is not None and len(bodies) != 1:
        raise click.UsageError(f"--id names one message; there are {len(bodies)}")
    client = connect(config, control, token_file)
    common = {"delay_s": _seconds(delay), "priority": priority, "max_tries": max_tries}
    named = {} if message_id is None else {"id": message_id}
    ids: list[str] = []
    for start in range(0, len(bodies), _AT_ONCE):
        some = [{"body": each, **common, **named} for each in bodies[start : start + _AT_ONCE]]
        ids += _push(client, name, some, len(ids))
    if as_json:
        print_json({"ids": ids})
    else:
        for each in ids:
            print_line(each)


def _push(
    client: ControlClient, name: str, messages: list[dict[str, Any]], before: int
) -> list[str]:
    try:
        pushed: list[str] = client.post(_path(name, "/messages"), {"messages": messages})["ids"]
    except OcaserveError as error:
        done = f"\n{before} messages before were pushed" if before else ""
        fail(OcaserveError(f"{error}{done}"))
    return pushed


def _lines() -> Iterator[str]:
    for line in sys.stdin:
        if line.strip():
            yield line.rstrip("\n")


def _body(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@queue.command()
@click.argument("name")
@click.option("-n", type=click.IntRange(1, _AT_ONCE), default=1, show_default=True)
@click.option("--wait", callback=typed(span), help="Wait for one to come: 20s at most.")
@click.option(
    "--hold",
    callback=typed(span),
    default="60s",
    show_default=True,
    help="It is yours for so long.",
)
@click.option("--ack", "is_done", is_flag=True, help="They are done by being shown.")
@appliance_options
@json_option
def pop(
    name: str,
    n: int,
    wait: timedelta | None,
    hold: timedelta,
    is_done: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Get messages that are due. Status 1 if there are none."""
    client = connect(config, control, token_file)
    wanted = {"n": n, "wait_s": _seconds(wait), "hold_s": hold.total_seconds()}
    found = _ask(lambda: client.post(_path(name, "/pop"), wanted))
    if as_json:
        print_json(found)
    else:
        for each in found["deliveries"]:
            click.echo(f"{each['receipt']}\t{json.dumps(each['body'])}")
    receipts = [each["receipt"] for each in found["deliveries"]]
    if receipts and is_done:
        _ask(lambda: client.post(_path(name, "/ack"), {"receipts": receipts}))
    sys.exit(0 if receipts else 1)


@queue.command()
@click.argument("name")
@click.argument("receipt", nargs=-1, required=True)
@appliance_options
@json_option
def ack(
    name: str,
    receipt: tuple[str, ...],
    config: str | None,
    control: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Say that deliveries are done, by the receipts that pop has shown."""
    client = connect(config, control, token_file)
    found = _ask(lambda: client.post(_path(name, "/ack"), {"receipts": list(receipt)}))
    if as_json:
        print_json(found)
    else:
        print_line(f"{found['acked']} done")
    if found["refused"]:
        fail(OcaserveError("\n".join(f"{e['receipt']}: {e['why']}" for e in found["refused"])))


@queue.command()
@click.argument("name")
@click.argument("message_id", required=False)
@click.option("-n", type=click.IntRange(1, _AT_ONCE), help="So many buried ones, the oldest first.")
@appliance_options
@json_option
def kick(
    name: str,
    message_id: str | None,
    n: int | None,
    config: str | None,
    control: str | None,
    token_file: str | None,
    as_json: bool,
) -> None:
    """Make buried messages ready, or the one named, buried or delayed."""
    if (n is None) == (message_id is None):
        raise click.UsageError("name either a message or -n")
    client = connect(config, control, token_file)
    found = _ask(lambda: client.post(_path(name, "/kick"), {"n": n, "id": message_id}))
    if as_json:
        print_json(found)
    else:
        print_line(f"{found['kicked']} ready")


@queue.command()
@click.argument("name")
@click.argument("message_id")
@appliance_options
def remove(
    name: str, message_id: str, config: str | None, control: str | None, token_file: str | None
) -> None:
    """Remove a message, whatever its state."""
    client = connect(config, control, token_file)
    _ask(lambda: client.post(_path(name, "/remove"), {"id": message_id}))

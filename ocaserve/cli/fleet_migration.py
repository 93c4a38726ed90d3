"""`fleet ledger migrate`: another ledger takes the place of the one in force."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import click

from ocaserve.cli.client import ask
from ocaserve.cli.fleet import connect_fleet, fleet_options
from ocaserve.cli.options import json_option
from ocaserve.cli.output import print_json, print_line

_PATH = "/v1/ledger/migration"


@click.group()
def migrate() -> None:
    """Go over to other parties, or to another store, while records come in.

    plan, double, compare, switch; and back, at any time.
    """


@migrate.command()
@fleet_options
@json_option
def status(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Show which ledger is in force, and which beside it."""
    client = connect_fleet(address, token_file)
    _show(ask(lambda: client.get(_PATH)), as_json)


@migrate.command()
@click.option("--to", "target", default="", metavar="URL", help="Another store, as fleet.ledger.")
@click.option(
    "--days", type=click.IntRange(0, 366), default=7, show_default=True,
    help="That must be equal before a switch; 0: all that is held.",
)  # fmt: skip
@fleet_options
@json_option
def plan(
    target: str, days: int, address: str | None, token_file: str | None, as_json: bool
) -> None:
    """Plan to go over to the parties of the settings, or to the store URL. Nothing changes yet."""
    client = connect_fleet(address, token_file)
    wanted = {"target": target, "days": days}
    _show(ask(lambda: client.post(f"{_PATH}/plan", wanted)), as_json)


@migrate.command()
@click.option("--afresh", is_flag=True, help="Copy all again, over what is there.")
@fleet_options
@json_option
def double(afresh: bool, address: str | None, token_file: str | None, as_json: bool) -> None:
    """Have records go into both, and copy what is missing. Mends what compare has found lost."""
    client = connect_fleet(address, token_file)
    _show(ask(lambda: client.post(f"{_PATH}/double", {"afresh": afresh})), as_json)


@migrate.command()
@fleet_options
@json_option
def compare(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Name each party and five minutes in which the two differ, and why. Status 1 if some do."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get(f"{_PATH}/comparison"))
    _show_comparison(found, as_json)
    sys.exit(0 if found["equal"] else 1)


@migrate.command()
@fleet_options
@json_option
def switch(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Have the new ledger in force. Refused unless both were equal for the days of the plan."""
    client = connect_fleet(address, token_file)
    _show_comparison(ask(lambda: client.post(f"{_PATH}/switch")), as_json)
    if not as_json:
        print_line("the new ledger is in force; name it in fleet.ledger when you will not go back")


@migrate.command()
@fleet_options
@json_option
def back(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Have the old ledger in force again; the new one is kept beside it."""
    client = connect_fleet(address, token_file)
    _show(ask(lambda: client.post(f"{_PATH}/back")), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_line(f"{found['state']}; in force: {found['in_force']}")
    if found["beside"]:
        days = f"{found['days']} days" if found["days"] else "all that is held"
        print_line(f"beside: {found['beside']}, parties {', '.join(found['parties']) or 'none'}")
        print_line(f"to be equal before a switch: {days}")
    if found["fault"]:
        print_line(f"the one beside was not told all, `double` mends it: {found['fault']}")
    for each in found["months"]:
        how = "grouped anew" if each["state"] == "open" else "as it is"
        print_line(f"{each['month']}, {each['state']}: {each['records']:,} records, {how}")


def _show_comparison(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for fault in found["faults"]:
        print_line(fault)
    for each in found["discrepancies"]:
        when = datetime.fromtimestamp(each["start"], UTC).strftime("%Y-%m-%dT%H:%MZ")
        print_line(
            f"{each['party']}, {when}: {each['in_force']:,} bytes in force, {each['beside']:,} "
            f"beside: {'; '.join(each['causes'])}"
        )
    verdict = "equal" if found["equal"] else f"{found['unequal']:,} unequal"
    print_line(f"{found['cells']:,} parties and five minutes: {verdict}")

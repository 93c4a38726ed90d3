"""`fleet`: the control plane of a network of appliances, and asking it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

import click

from ocaserve.cli.client import ControlClient, ask, client_at
from ocaserve.cli.options import check_open, json_option
from ocaserve.cli.output import fail, print_json, print_line, quantity
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from ocaserve.fleet.recorded_decisions import DecisionRow, Difference

DEFAULT_FLEET = "127.0.0.1:8090"
_FLEET_VARIABLE = "OCASERVE_FLEET"
_MOST_SHOWN = 20
_APPLIANCES = "{:<20} {:<16} {:<9} {:>9} {:>8} {:>14}  {}"

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def fleet() -> None:
    """Run the control plane of a network of appliances, or ask it."""


@fleet.command()
@click.option(
    "-c", "--config", type=click.Path(dir_okay=False), metavar="FILE",
    help="The fleet's configuration (TOML); without one, all defaults.",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="Log only what is wrong.")
@click.option("--ready-fd", type=click.IntRange(3), hidden=True, help="Told when it answers.")
def serve(config: str | None, quiet: bool, ready_fd: int | None) -> None:
    """Run the control plane: reports at 127.0.0.1:8090, clients at 127.0.0.1:8088 by default."""
    from ocaserve.errors import StartError
    from ocaserve.fleet.fleet_processes import serve_fleet
    from ocaserve.logs import start_logging

    if ready_fd is not None:
        check_open(ready_fd)
    start_logging(logging.WARNING if quiet else logging.INFO)
    try:
        serve_fleet(config, sys.argv[1:], ready_fd)
    except OcaserveError as error:
        fail(error)
    except OSError as error:
        fail(StartError(f"cannot start: {error}"))


def fleet_options(command: F) -> F:
    """The options by which a command finds a running control plane."""
    for option in (
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False),
            help="File that holds a token, when one is asked for.",
        ),
        click.option(
            "--fleet",
            "address",
            metavar="ADDR:PORT",
            help="Where the control plane is; https:// in front where it speaks TLS.  "
            f"[env: {_FLEET_VARIABLE}; default: {DEFAULT_FLEET}]",
        ),
    ):
        command = option(command)
    return command


def connect_fleet(address: str | None, token_file: str | None) -> ControlClient:
    """The control plane that the options name; ends the command where they are wrong."""
    given = address or os.environ.get(_FLEET_VARIABLE) or DEFAULT_FLEET
    try:
        return client_at(given, "--fleet", token_file)
    except OcaserveError as error:
        fail(error)


@fleet.command()
@fleet_options
@json_option
def status(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Show the control plane at a glance. Status 1 while no appliance takes clients."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/status"))
    if as_json:
        print_json(found)
    else:
        print_line(
            f"{found['appliances']} appliances at {found['sites']} sites, "
            f"{found['taking_clients']} take clients; {found['networks']:,} networks"
        )
        if found["commissioning"] or found["failing_checks"]:
            print_line(
                f"{found['commissioning']} commissioning; "
                f"{found['failing_checks']} in service fail checks"
            )
        for what in ("documents", "decisions"):
            counts = ", ".join(f"{n:,} {name}" for name, n in sorted(found[what].items()))
            print_line(f"{what}: {counts or 'none'}")
    sys.exit(0 if found["taking_clients"] else 1)


@fleet.command()
@fleet_options
@json_option
def appliances(address: str | None, token_file: str | None, as_json: bool) -> None:
    """List the appliances: who takes clients, why the others do not, and which checks fail."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/appliances"))
    if as_json:
        print_json(found)
        return
    print_line(_APPLIANCES.format("appliance", "site", "clients", "networks", "heard", "free", ""))
    for each in found["appliances"]:
        free = each["free_bits_per_s"]
        print_line(
            _APPLIANCES.format(
                each["id"],
                each["site"],
                "yes" if each["takes_clients"] else "no",
                f"{each['networks']:,}",
                f"{each['age_s']:.0f} s",
                "-" if free is None else quantity(free, "bit/s"),
                each["fault"],
            ).rstrip()
        )
        for failed in each["failed_checks"]:
            print_line(f"  {failed['check'].replace('_', ' ')}: {failed['why']}")


@fleet.command()
@fleet_options
@json_option
def audit(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Name the appliances that lack what others of their site have. Status 1 if there are any."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/audit"))
    if as_json:
        print_json(found)
    for each in [] if as_json else found["lacks"]:
        rest = ", ..." if each["lacks"] > len(each["examples"]) else ""
        print_line(
            f"{each['appliance']} of {each['site']!r} lacks {each['lacks']:,} of {each['of']:,} "
            f"{each['what']}: {', '.join(each['examples'])}{rest}"
        )
    if not (as_json or found["lacks"]):
        print_line("the appliances of each site are alike")
    sys.exit(1 if found["lacks"] else 0)


@fleet.command()
@click.argument("ip")
@click.argument("key", default="")
@fleet_options
@json_option
def explain(ip: str, key: str, address: str | None, token_file: str | None, as_json: bool) -> None:
    """Say who serves the client IP (the object KEY), and why not others. Status 1 if nobody."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get(f"/v1/explain?{urlencode({'ip': ip, 'key': key})}"))
    if as_json:
        print_json(found)
    else:
        for sentence in found["because"]:
            print_line(sentence)
    sys.exit(0 if found["served"] else 1)


def named_options(command: F) -> F:
    """Appliances and sites, each as often as there are."""
    for option in (
        click.option("--site", "sites", multiple=True, help="A site, with all its appliances."),
        click.option("--appliance", "appliances", multiple=True, help="An appliance, by its id."),
    ):
        command = option(command)
    return command


@fleet.command()
@named_options
@click.option("--reason", default="", help="Why, for those who will ask.")
@fleet_options
@json_option
def drain(
    appliances: tuple[str, ...], sites: tuple[str, ...], reason: str,
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Send clients elsewhere; the appliance itself is not told, and those that play go on."""
    _change_drains("/v1/drain", appliances, sites, {"reason": reason}, address, token_file, as_json)


@fleet.command()
@named_options
@fleet_options
@json_option
def enable(
    appliances: tuple[str, ...], sites: tuple[str, ...],
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """No longer keep clients from an appliance that was drained here."""
    _change_drains("/v1/enable", appliances, sites, {}, address, token_file, as_json)


def _change_drains(
    path: str, appliances: Sequence[str], sites: Sequence[str], more: dict[str, str],
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    if not appliances and not sites:
        raise click.UsageError("name at least one --appliance or --site")
    client = connect_fleet(address, token_file)
    wanted = {"appliances": list(appliances), "sites": list(sites), **more}
    found = ask(lambda: client.post(path, wanted))
    if as_json:
        print_json(found)
        return
    for each in found["drains"]:
        print_line(f"{each['appliance']}: drained here: {each['reason'] or 'by an operator'}")
    if not found["drains"]:
        print_line("no appliance is drained here")


@fleet.command("what-if")
@named_options
@click.option("--prefix", "prefixes", multiple=True, help="A network that nobody announces.")
@fleet_options
@json_option
def what_if(
    appliances: tuple[str, ...], sites: tuple[str, ...], prefixes: tuple[str, ...],
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Say where clients would go if these were lost. Status 1 if some would have nobody then."""
    if not (appliances or sites or prefixes):
        raise click.UsageError("name at least one --appliance, --site or --prefix")
    client = connect_fleet(address, token_file)
    lost = {"appliances": list(appliances), "sites": list(sites), "prefixes": list(prefixes)}
    found = ask(lambda: client.post("/v1/what-if", {"lose": lost}))
    if as_json:
        print_json(found)
    else:
        for line in _tell_outlook(found):
            print_line(line)
    lose = any(each["after_bits_per_s"] > each["before_bits_per_s"] for each in found["unserved"])
    sys.exit(1 if found["uncovered_networks"] or lose else 0)


def _tell_outlook(found: dict[str, Any]) -> Iterator[str]:
    rate = quantity(found["bits_per_s"], "bit/s")
    yield f"{found['clients']:,} clients asked in the last {found['span_s']} s: {rate} expected"
    if found["not_recorded"]:
        yield f"{found['not_recorded']:,} more, of other networks, are not in what follows"
    for move in found["moves"][:_MOST_SHOWN]:
        moved = quantity(move["bits_per_s"], "bit/s")
        source, target = move["from"] or "nobody", move["to"] or "nobody"
        yield f"{source} -> {target}: {moved}, of {move['networks']:,} networks"
    if not found["moves"]:
        yield "nothing would move"
    for load in found["appliances"]:
        if load["overloaded"]:
            yield _tell_load(load)
    for each in found["unserved"]:
        before, after = each["before_bits_per_s"], each["after_bits_per_s"]
        yield (
            f"nobody would take {quantity(after, 'bit/s')}, for want of {each['cause']}: "
            f"{quantity(before, 'bit/s')} now"
        )
    for row in found["uncovered"][:_MOST_SHOWN]:
        yield f"{row['network']} would have nobody: {quantity(row['bits_per_s'], 'bit/s')}"
    if (rest := found["uncovered_networks"] - _MOST_SHOWN) > 0:
        yield f"and {rest:,} more networks"
    if found["policies"]:
        yield f"policies in force: {', '.join(found['policies'])}"
    yield from found["limits"]


def _tell_load(load: dict[str, Any]) -> str:
    after = quantity(load["after_bits_per_s"], "bit/s")
    if load["full"]:
        return f"{load['id']} would be full: it takes {after}, and sends on what comes beyond that"
    total = quantity(load["total_bits_per_s"], "bit/s")
    return f"{load['id']} would be overloaded: {after} of {total}"


@fleet.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@json_option
def replay(file: Path, as_json: bool) -> None:
    """Decide again what a decision log holds. Status 1 where the answer is another one now."""
    from ocaserve.fleet.recorded_decisions import RecordError, read_decision
    from ocaserve.fleet.recorded_decisions import replay as decide_again

    decisions, differences = 0, []
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = read_decision(line)
                    found = list(decide_again(row))
                except RecordError as error:
                    fail(OcaserveError(f"{file}, line {number}: no decision: {error}"))
                decisions += 1
                differences += [_describe_difference(number, row, each) for each in found]
    except OSError as error:
        fail(OcaserveError(f"{file}: {error.strerror}"))
    if as_json:
        print_json({"decisions": decisions, "differences": differences})
    else:
        for each in differences:
            print_line(
                f"line {each['line']}: {each['client']}, {each['object']}: "
                f"{', '.join(each['recorded']) or 'nobody'} -> "
                f"{', '.join(each['replayed']) or 'nobody'}"
            )
        print_line(f"{decisions:,} decisions, {len(differences):,} differences")
    sys.exit(1 if differences else 0)


def _describe_difference(line: int, row: DecisionRow, difference: Difference) -> dict[str, Any]:
    return {"line": line, "client": row.client, **difference._asdict()}

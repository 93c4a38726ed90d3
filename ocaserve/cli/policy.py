"""`fleet policy`: write, check, try and release what changes decisions."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ocaserve.cli.client import ControlClient, ask
from ocaserve.cli.fleet import connect_fleet, fleet_options
from ocaserve.cli.options import json_option
from ocaserve.cli.output import fail, print_json, print_line
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from ocaserve.fleet.recorded_decisions import DecisionRow
    from ocaserve.policies.bundles import Bundle

F = TypeVar("F", bound=Callable[..., Any])

_PROGRAM = click.Path(exists=True, path_type=Path)


@click.group()
def policy() -> None:
    """Change decisions by small programs, as safely as code is released."""


@policy.command()
@click.argument("name")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
def new(name: str, folder: Path) -> None:
    """Write a policy NAME that changes nothing yet, with a test, into FOLDER."""
    from ocaserve.policies.bundle_files import write_template

    try:
        print_line(str(write_template(name, folder)))
    except (ValueError, OSError) as error:
        fail(OcaserveError(str(error)))


@policy.command()
@click.argument("programs", nargs=-1, required=True, type=_PROGRAM)
@click.option(
    "--decisions", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A decision log: what would be others' with these policies?",
)  # fmt: skip
@json_option
def check(programs: tuple[Path, ...], file: Path | None, as_json: bool) -> None:
    """Check policies here: parse, lint, load, test, and decide again what was recorded.

    Status 1 where something forbids them. A policy is NAME.star, or the folder that holds it.
    """
    found = _check(read_programs(programs), file)
    if as_json:
        print_json(found)
    else:
        for line in tell_check(found):
            print_line(line)
    sys.exit(1 if found["faults"] else 0)


@policy.command()
@click.argument("programs", nargs=-1, required=True, type=_PROGRAM)
def test(programs: tuple[Path, ...]) -> None:
    """Run the tests of policies here: their functions test_... Status 1 where one fails."""
    found = _check(read_programs(programs), None)
    for line in found["faults"]:
        print_line(line)
    print_line(f"{found['tests']} tests passed")
    sys.exit(1 if found["faults"] else 0)


def _release_options(command: F) -> F:
    """Who does it, and where the control plane is."""
    by = click.option("--by", default=_whoami, help="Who does it.  [default: the user's name]")
    return fleet_options(by(command))


def _whoami() -> str:
    return os.environ.get("SUDO_USER") or os.environ.get("USER") or ""


@policy.command()
@click.argument("programs", nargs=-1, required=True, type=_PROGRAM)
@click.option("--note", default="", help="What it is for, for those who will ask.")
@click.option("--seconds", type=float, default=3_600.0, help="Then it is rolled back.  [3600]")
@_release_options
def shadow(
    programs: tuple[Path, ...], note: str, seconds: float, by: str, address: str | None,
    token_file: str | None,
) -> None:  # fmt: skip
    """Hand policies in as one release, have it checked, and ask it beside what is in force."""
    client = connect_fleet(address, token_file)
    policies = [{"name": each.name, "files": dict(each.files)} for each in read_programs(programs)]
    asked = {"policies": policies, "by": by, "note": note}
    release = ask(lambda: client.post("/v1/policies", asked))["release"]
    found = ask(lambda: client.post(f"/v1/policies/{release}/check", {"by": by}))
    for line in tell_check(found):
        print_line(line)
    if found["faults"]:
        sys.exit(1)
    wanted = {"by": by, "seconds": seconds}
    _tell(ask(lambda: client.post(f"/v1/policies/{release}/shadow", wanted)))


@policy.command()
@click.argument("what", metavar="NAME|RELEASE")
@click.option("--share", type=float, default=0.05, help="Of the client networks.  [0.05]")
@click.option("--seconds", type=float, default=600.0, help="Then it is judged.  [600]")
@_release_options
def canary(
    what: str, share: float, seconds: float, by: str, address: str | None, token_file: str | None
) -> None:
    """Put what is in shadow in force for a part of the clients, judged against the rest."""
    _step(what, "canary", {"by": by, "share": share, "seconds": seconds}, address, token_file)


@policy.command()
@click.argument("what", metavar="NAME|RELEASE")
@_release_options
def promote(what: str, by: str, address: str | None, token_file: str | None) -> None:
    """Put a canary in force for all clients, before its time is over."""
    _step(what, "promote", {"by": by}, address, token_file)


@policy.command()
@click.argument("what", metavar="NAME|RELEASE")
@click.option("--reason", default="", help="Why, for those who will ask.")
@_release_options
def rollback(what: str, reason: str, by: str, address: str | None, token_file: str | None) -> None:
    """Go back to what was in force before, at all instances within a second."""
    _step(what, "rollback", {"by": by, "reason": reason}, address, token_file)


# What may be meant by a name, by the step: the latest release of it in one of these states.
_MEANT = {
    "canary": ("shadow",),
    "promote": ("canary",),
    "rollback": ("canary", "shadow", "live", "checked", "draft"),
}


def _step(
    what: str, step: str, body: dict[str, Any], address: str | None, token_file: str | None
) -> None:
    client = connect_fleet(address, token_file)
    number = int(what) if what.isdigit() else _find_release(client, what, step)
    _tell(ask(lambda: client.post(f"/v1/policies/{number}/{step}", body)))


def _find_release(client: ControlClient, name: str, step: str) -> int:
    releases = ask(lambda: client.get("/v1/policies"))["releases"]
    of_name = [each for each in releases if name in each["policies"]]
    meant = [each for state in _MEANT[step] for each in of_name if each["state"] == state]
    if not meant:
        states = ", ".join(f"{each['release']} {each['state']}" for each in of_name) or "none"
        fail(OcaserveError(f"{name!r} has no release to {step}: {states}"))
    return int(meant[0]["release"])


def _tell(release: dict[str, Any]) -> None:
    names = ", ".join(sorted(release["policies"]))
    until = f", until {_clock(release['until'])}" if release["until"] else ""
    print_line(f"release {release['release']} ({names}): {release['state']}{until}")


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@policy.command()
@click.option("-n", "most", type=click.IntRange(1, 500), default=20, help="So many lines.  [20]")
@fleet_options
@json_option
def log(most: int, address: str | None, token_file: str | None, as_json: bool) -> None:
    """Who did what to which release, the latest first."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/policies/log"))
    if as_json:
        print_json(found)
        return
    for each in found["notes"][:most]:
        names = ", ".join(sorted(each["policies"]))
        why = f": {each['why']}" if each["why"] else ""
        by = each["by"] or "by itself"
        print_line(f"{_clock(each['at'])}  {each['release']} ({names})  {each['event']}  {by}{why}")


@policy.command()
@fleet_options
@json_option
def top(address: str | None, token_file: str | None, as_json: bool) -> None:
    """What is in force and on trial, what it costs, and what it does wrong."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/policies"))
    if as_json:
        print_json(found)
        return
    for line in _tell_overview(found):
        print_line(line)


def _tell_overview(found: dict[str, Any]) -> Iterator[str]:
    for each in found["in_force"]:
        yield f"{each['name']}: in force by release {each['release']}, {each['by'] or 'unknown'}"
    if not found["in_force"]:
        yield "no policy is in force: the built-in rule decides"
    if canary := found["canary"]:
        for name in ("canary", "rest"):
            arm = canary[name]
            yield (
                f"release {canary['release']}, {name}: {arm['failed']:,} of {arm['sessions']:,} "
                f"sessions left a server, {arm['unserved']:,} of {arm['decisions']:,} had nobody"
            )
        yield f"evidence that it is worse: {canary['evidence']:g}, enough from {canary['enough']:g}"
    for each in found["shadows"]:
        yield (
            f"release {each['release']}, shadow: {each['moved']:,} of {each['compared']:,} would "
            f"have another first, {each['unserved']:,} nobody"
        )
        for move in each["moves"]:
            yield f"  {move['from']} -> {move['to']}: {move['decisions']:,}"
    for each in found["costs"]:
        yield (
            f"{each['name']}@{each['version'][:12]}: {each['from_memory']:,} from memory, "
            f"{each['asked']:,} asked ({each['mean_us']:.0f} us, {each['worst_us']:.0f} at most), "
            f"{each['late']:,} late, {each['faults']:,} faults"
        )
        if each["last_fault"]:
            yield f"  {each['last_fault']}"


def read_programs(programs: tuple[Path, ...]) -> list[Bundle]:
    """Ends the command where one cannot be read."""
    from ocaserve.policies.bundle_files import read_bundle

    try:
        return [read_bundle(each) for each in programs]
    except (ValueError, OSError) as error:
        fail(OcaserveError(str(error)))


def _check(bundles: list[Bundle], file: Path | None) -> dict[str, Any]:
    import msgspec

    from ocaserve.fleet.policy_checks import check_policies
    from ocaserve.policies.runner import MISSING, can_run_policies

    if not can_run_policies():
        fail(OcaserveError(MISSING))
    rows = () if file is None else _read_decisions(file)
    found: dict[str, Any] = msgspec.to_builtins(asyncio.run(check_policies(bundles, rows)))
    return found


def _read_decisions(file: Path) -> Iterator[DecisionRow]:
    from ocaserve.fleet.recorded_decisions import RecordError, read_decision

    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield read_decision(line)
            except RecordError as error:
                fail(OcaserveError(f"{file}, line {number}: no decision: {error}"))


def tell_check(found: dict[str, Any]) -> Iterator[str]:
    """What a check has found, in lines."""
    yield from found["faults"]
    yield f"{found['tests']} tests passed"
    if found["decisions"]:
        yield (
            f"{found['decisions']:,} decisions made again: {found['moved']:,} would have another "
            f"first, {found['unserved']:,} nobody; {found['mean_us']:.0f} us an answer, "
            f"{found['worst_us']:.0f} at most"
        )
    for each in found["differences"]:
        having = ", ".join(each["having"]) or "nobody"
        yield f"  {each['client']}, {each['object']}: {', '.join(each['without'])} -> {having}"

"""`routes`, `report` and `explain`: what BGP taught the appliance, and what it tells."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import click

from ocaserve.cli.client import Client, appliance_options, connect
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(invoke_without_command=True)
@click.option("--lookup", metavar="IP|PREFIX", help="The longest match, and what lies around it.")
@click.option("--filtered", is_flag=True, help="The routes that are not used, and why.")
@click.option("--peers", is_flag=True, help="The sessions and their families.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all of them as CSV.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True)
@_JSON
@appliance_options
@click.pass_context
def routes(
    context: click.Context,
    lookup: str | None,
    filtered: bool,
    peers: bool,
    as_csv: bool,
    limit: int,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """What BGP taught the running appliance."""
    if context.invoked_subcommand is not None:
        return
    if sum((lookup is not None, filtered, peers)) > 1:
        raise click.UsageError("--lookup, --filtered and --peers exclude each other")
    if as_csv and (lookup is not None or peers or as_json):
        raise click.UsageError("--csv goes with --filtered alone")
    client = connect(config, control, token_file)
    if lookup is not None:
        found = _get(client, "/v1/routes/lookup", {"at": lookup})
        _show(found, as_json, _lookup_lines)
        sys.exit(0 if found["match"] else 1)
    if as_csv:
        _copy(client, f"/v1/routes.csv?{urlencode({'filtered': str(filtered).lower()})}")
    elif peers:
        _show(_get(client, "/v1/routes/peers"), as_json, _peers_lines)
    else:
        query = {"limit": limit, "filtered": str(filtered).lower()}
        _show(_get(client, "/v1/routes", query), as_json, _routes_lines)


def _get(client: Client, path: str, query: Mapping[str, object] | None = None) -> dict[str, Any]:
    """What the appliance answers; ends the command where it cannot or will not."""
    try:
        return client.get(f"{path}?{urlencode(query)}" if query else path)
    except OcaserveError as error:
        fail(error)


def _copy(client: Client, path: str) -> None:
    """Print what the appliance answers as it comes, since it may be a million routes."""
    try:
        for piece in client.pieces(path):
            sys.stdout.buffer.write(piece)
    except OcaserveError as error:
        fail(error)


@click.command()
@click.option("--changes-after", type=click.IntRange(0), metavar="N", help="What is new since N.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole document.")
@appliance_options
def report(
    changes_after: int | None,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """What the running appliance tells the control plane."""
    client = connect(config, control, token_file)
    if changes_after is None and as_json:
        _copy(client, "/v1/report")
        return
    now = _get(client, "/v1/report/session")
    after = now["serial"] if changes_after is None else changes_after
    query = {"session": now["session"], "after": after}
    if as_json:
        _copy(client, f"/v1/report/changes?{urlencode(query)}")
        return
    found = _get(client, "/v1/report/changes", query)
    if changes_after is None:  # what stands in the whole report beside its routes
        found |= {
            "kind": "report",
            "routes": {},
            "totals": _get(client, "/v1/routes/peers")["totals"],
        }
    for line in _report_lines(found):
        click.echo(line)


@click.command()
@click.argument("ip")
@click.argument("key", metavar="[OBJECT]", required=False)
@_JSON
@appliance_options
def explain(
    ip: str,
    key: str | None,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """Would this client be steered here for this object, and why."""
    query = {"ip": ip} | ({"object": key} if key else {})
    found = _get(connect(config, control, token_file), "/v1/explain", query)
    _show(found, as_json, _explain_lines)
    sys.exit(0 if found["steered_here"] else 1)


@routes.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.option("--lookup", metavar="IP|PREFIX", help="The longest match, and what lies around it.")
@click.option("--filtered", is_flag=True, help="The routes that are not used, and why.")
@click.option("--peers", is_flag=True, help="The sessions and their families.")
@click.option("--local-as", type=click.IntRange(1, 2**32 - 1), help="Ours, to find loops.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@_JSON
def replay(
    file: str,
    lookup: str | None,
    filtered: bool,
    peers: bool,
    local_as: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Read recorded routes and show what `routes` would.

    FILE holds MRT, or lines of ExaBGP's JSON; plain, .gz or .bz2. Status 1 when nothing in it is
    understood.
    """
    from ocaserve.steering.replay import replay_file

    try:
        played = replay_file(file, local_as)
        if lookup is not None:
            _show(played.look_up(lookup), as_json, _lookup_lines)
        elif peers:
            _show(played.peers(), as_json, _peers_lines)
        else:
            _show(played.routes(is_filtered=filtered, most=limit), as_json, _routes_lines)
    except OcaserveError as error:
        fail(error)
    for fault in played.faults:
        click.echo(f"ocaserve: {file}: record at byte {fault.offset}: {fault.why}", err=True)
    click.echo(
        f"{played.records} records, {played.fault_count} malformed, {played.seconds:.1f} s",
        err=True,
    )
    sys.exit(1 if played.fault_count >= played.records else 0)


def _show(found: Any, as_json: bool, lines: Any) -> None:
    if as_json:
        print_json(found)
        return
    for line in lines(found):
        click.echo(line)


# -- as text -------------------------------------------------------------------------------------


def _routes_lines(found: dict[str, Any]) -> Iterable[str]:
    for match in found["routes"]:
        yield from _match_lines(match)
    yield from _totals_lines(found["totals"])


def _match_lines(match: dict[str, Any]) -> Iterable[str]:
    from ocaserve.steering.exports import describe_path

    for route in match["routes"]:
        attributes = route["attributes"]
        words = [
            f"{match['prefix']:<20}",
            f"from {route['peer']}",
            *([f"path-id {route['path_id']}"] if route["path_id"] else []),
            f"next hop {attributes['next_hop'] or 'none'}",
            f"path {describe_path(attributes['as_path']) or 'empty'}",
            f"med {route['med']}",
            *([f"rpki {route['rov']}"] if route["rov"] else []),
            *([] if route["confirmed"] else ["unconfirmed"]),
            *([f"not used: {route['reason']}"] if route["reason"] else []),
        ]
        yield "  ".join(words)


def _totals_lines(totals: dict[str, Any]) -> Iterable[str]:
    yield f"{totals['routes']} routes, {totals['accepted']} accepted"
    for reason, number in totals["filtered"].items():
        yield f"  {number} not used: {reason}"


def _lookup_lines(found: dict[str, Any]) -> Iterable[str]:
    if found["match"]:
        yield f"{found['query']} is matched by"
        yield from _match_lines(found["match"])
    else:
        yield f"no accepted route covers {found['query']}"
    yield from _section("all that covers it", found["covering"])
    yield from _section("inside of it", found["more_specific"])


def _section(title: str, matches: Sequence[dict[str, Any]]) -> Iterable[str]:
    if matches:
        yield f"{title}:"
    for match in matches:
        yield from (f"  {line}" for line in _match_lines(match))


def _peers_lines(found: dict[str, Any]) -> Iterable[str]:
    if not found["peers"]:
        yield "no peers: [bgp] has no neighbors"
    for peer in found["peers"]:
        as_number = f" AS{peer['as']}" if "as" in peer else ""
        if peer.get("opened_as") not in (None, 0, peer.get("as")):
            as_number += f" (says it is AS{peer['opened_as']})"
        is_told = peer["state"] != "up" and peer.get("reason")
        reason = f" ({peer['reason']})" if is_told else ""
        yield f"{peer['address']}{as_number}: {peer['state']}{reason}"
        for name, family in peer["families"].items():
            whole = "complete" if family["complete"] else "not complete"
            yield (
                f"  {name}: {family['state']}, {whole}, {family['routes']} routes, "
                f"{family['accepted']} accepted, {family['unconfirmed']} unconfirmed"
            )
            for reason, number in family["filtered"].items():
                yield f"    {number} not used: {reason}"


def _report_lines(document: dict[str, Any]) -> Iterable[str]:
    yield f"{document['kind']} of {document['appliance']}"
    yield f"session {document['session']}, serial {document['serial']}"
    yield f"digest {document['digest']}, {'complete' if document['complete'] else 'not complete'}"
    if document["kind"] == "report":
        totals = document["totals"]
        yield f"{totals['accepted']} routes accepted, {totals['attribute_sets']} sets of attributes"
    else:
        yield f"{len(document['routes'])} prefixes changed"
        for prefix, listed in document["routes"].items():
            yield f"  {prefix}: {len(listed)} routes" if listed else f"  {prefix}: gone"


def _explain_lines(found: dict[str, Any]) -> Iterable[str]:
    yield f"{found['ip']}: {'steered here' if found['steered_here'] else 'not steered here'}"
    yield from (f"  {reason}" for reason in found["because"])

"""`routes`, `report` and `explain`: what BGP taught the appliance, and what it tells."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import click

from ocaserve.cli.client import ControlClient, appliance_options, connect
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_MOST_DIFFERENCES = 1_000  # that are shown to a person


@click.group(invoke_without_command=True)
@click.option("--lookup", metavar="IP|PREFIX", help="The longest match, and what lies around it.")
@click.option("--filtered", is_flag=True, help="The routes that are not used, and why.")
@click.option("--peers", is_flag=True, help="The sessions and their families.")
@click.option(
    "--idle",
    type=click.IntRange(1, 31),
    metavar="DAYS",
    help="The prefixes that no client has come from for so long.",
)
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
    idle: int | None,
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
    _refuse_combinations(lookup, filtered, peers, as_csv, as_json)
    client = connect(config, control, token_file)
    if lookup is not None:
        found = _get(client, "/v1/routes/lookup", {"at": lookup})
        _show(found, as_json, _lookup_lines)
        sys.exit(0 if found["match"] else 1)
    if as_csv:
        _copy(client, f"/v1/routes.csv?{urlencode({'filtered': str(filtered).lower()})}")
    elif peers:
        _show(_get(client, "/v1/routes/peers"), as_json, _peers_lines)
    elif idle is not None:
        given = {"days": idle, "limit": limit}
        _show(_get(client, "/v1/routes/idle", given), as_json, _idle_lines)
    else:
        query = {"limit": limit, "filtered": str(filtered).lower()}
        _show(_get(client, "/v1/routes", query), as_json, _routes_lines)


def _get(
    client: ControlClient, path: str, query: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """What the appliance answers; ends the command where it cannot or will not."""
    try:
        return client.get(f"{path}?{urlencode(query)}" if query else path)
    except OcaserveError as error:
        fail(error)


def _copy(client: ControlClient, path: str) -> None:
    """Print what the appliance answers as it comes, since it may be a million routes."""
    try:
        for piece in client.pieces(path):
            sys.stdout.buffer.write(piece)
    except OcaserveError as error:
        fail(error)


@click.command()
@click.option("--changes-after", type=click.IntRange(0), metavar="N", help="What is new since N.")
@click.option(
    "--diff",
    "other",
    metavar="URL",
    help="Compare the prefixes with those of another appliance of the site, by its control "
    "address; status 1 where they differ.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole document.")
@appliance_options
def report(
    changes_after: int | None,
    other: str | None,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """What the running appliance tells the control plane."""
    client = connect(config, control, token_file)
    if other is not None:
        if changes_after is not None:
            raise click.UsageError("--diff and --changes-after exclude each other")
        _compare(
            client, connect(None, other.removeprefix("http://").rstrip("/"), token_file), as_json
        )
        return
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


def _compare(here: ControlClient, there: ControlClient, as_json: bool) -> None:
    """The prefixes of two appliances; the digests say at once that they are the same."""
    digests = [_get(each, "/v1/report/session")["prefix_digest"] for each in (here, there)]
    only: list[list[str]] = [[], []]
    if digests[0] != digests[1]:
        ours, theirs = (_get(each, "/v1/report")["routes"].keys() for each in (here, there))
        only = [sorted(ours - theirs), sorted(theirs - ours)]
    is_equal = not any(only)
    found = {"equal": is_equal, "only_here": only[0], "only_there": only[1]}
    _show(found, as_json, lambda _: _difference_lines(only, str(there.address)))
    sys.exit(0 if is_equal else 1)


def _difference_lines(only: Sequence[Sequence[str]], there: str) -> Iterable[str]:
    if not any(only):
        yield f"the same prefixes as {there}"
    for where, prefixes in (("here", only[0]), (f"at {there}", only[1])):
        if prefixes:
            yield f"{len(prefixes)} only {where}:"
        yield from (f"  {prefix}" for prefix in prefixes[:_MOST_DIFFERENCES])
        if len(prefixes) > _MOST_DIFFERENCES:
            yield "  … --json has them all"


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
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False),
)
@click.option("--lookup", metavar="IP|PREFIX", help="The longest match, and what lies around it.")
@click.option("--filtered", is_flag=True, help="The routes that are not used, and why.")
@click.option("--peers", is_flag=True, help="The sessions and their families.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all of them as CSV.")
@click.option("--local-as", type=click.IntRange(1, 2**32 - 1), help="Ours, to find loops.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@_JSON
def replay(
    files: tuple[str, ...],
    lookup: str | None,
    filtered: bool,
    peers: bool,
    as_csv: bool,
    local_as: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Read recorded routes and show what `routes` would.

    FILE holds MRT, or lines of ExaBGP's JSON; plain, .gz, .bz2 or .xz. Of several, each goes on
    from those before it, as a table and the updates after it do. Status 1 when nothing is
    understood.
    """
    from ocaserve.routing.replay import replay_files

    _refuse_combinations(lookup, filtered, peers, as_csv, as_json)
    try:
        played = replay_files(files, local_as)
        if lookup is not None:
            _show(played.look_up(lookup), as_json, _lookup_lines)
        elif as_csv:
            for piece in played.csv(is_filtered=filtered):
                sys.stdout.buffer.write(piece)
        elif peers:
            _show(played.peers(), as_json, _peers_lines)
        else:
            _show(played.routes(is_filtered=filtered, most=limit), as_json, _routes_lines)
    except OcaserveError as error:
        fail(error)
    for fault in played.faults:
        click.echo(f"ocaserve: {fault}", err=True)
    click.echo(
        f"{played.records} records, {played.fault_count} malformed, {played.seconds:.1f} s",
        err=True,
    )
    sys.exit(0 if played.understood else 1)


def _refuse_combinations(
    lookup: str | None, filtered: bool, peers: bool, as_csv: bool, as_json: bool
) -> None:
    if sum((lookup is not None, filtered, peers)) > 1:
        raise click.UsageError("--lookup, --filtered and --peers exclude each other")
    if as_csv and (lookup is not None or peers or as_json):
        raise click.UsageError("--csv goes with --filtered alone")


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


def _idle_lines(found: dict[str, Any]) -> Iterable[str]:
    yield (f"{found['count']} of {found['accepted']} prefixes had no client since {found['since']}")
    yield from (f"  {prefix}" for prefix in found["prefixes"])
    if found["other_bytes"]:
        yield f"{found['other_bytes']} bytes went to networks that the ledger did not tell apart"


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
        if peer.get("router_id"):
            yield f"  {', '.join(_negotiated_words(peer))}"
        for name, family in peer["families"].items():
            whole = "complete" if family["complete"] else "not complete"
            odd = [", add-path"] if family["add_path"] else []
            if family["configured"] and family["negotiated"] is False:
                odd.append(", NOT NEGOTIATED by the router")
            yield (
                f"  {name}: {family['state']}, {whole}, {family['routes']} routes, "
                f"{family['accepted']} accepted, {family['unconfirmed']} unconfirmed{''.join(odd)}"
            )
            for reason, number in family["filtered"].items():
                yield f"    {number} not used: {reason}"


def _negotiated_words(peer: Mapping[str, Any]) -> Iterable[str]:
    """What the session came to, and when the router last said anything of its routes."""
    yield f"router id {peer['router_id']}"
    yield f"hold time {peer['hold_time_s']} s" if peer["hold_time_s"] else "NO hold time"
    restart = peer["restart_s"]
    yield "no graceful restart" if restart is None else f"graceful restart {restart} s"
    updated = peer["updated"]
    if updated is not None:
        yield f"last update {datetime.fromtimestamp(updated, UTC):%Y-%m-%d %H:%M:%S} UTC"


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

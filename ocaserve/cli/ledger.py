"""`ledger`: what was delivered to which client network."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

import click

from ocaserve.cli.client import CallError, appliance_options, connect
from ocaserve.cli.ledger_records import close, records, verify
from ocaserve.cli.options import json_option, moment_past, typed
from ocaserve.cli.output import fail, print_json, print_line, quantity

_COLUMNS = "{:<28} {:>16} {:>7} {:>12} {:>12}"


@click.group(invoke_without_command=True)
@appliance_options
@click.option("--top", type=click.IntRange(0, 100_000), default=20, show_default=True)
@click.option("--network", metavar="NETWORK", help="Only what lies in this one.")
@click.option(
    "--by",
    type=click.Choice(["network", "prefix"]),
    default="network",
    show_default=True,
    help="Client networks, or the prefixes that are routed for them now.",
)
@click.option(
    "--since",
    callback=typed(moment_past),
    metavar="TIME",
    help="From when: 2030-01-31T06:00, or 7d.  [default: 1d]",
)
@click.option(
    "--until", callback=typed(moment_past), metavar="TIME", help="To when; now without it."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_context
def ledger(
    context: click.Context,
    config: str | None,
    control: str | None,
    token_file: str | None,
    top: int,
    network: str | None,
    by: str,
    since: datetime | None,
    until: datetime | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show the bytes delivered, by client network, with the 95th percentile of their rate."""
    if context.invoked_subcommand is not None:
        return
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    asked = {
        "top": str(top),
        "network": network,
        "by": by,
        "since": since.isoformat() if since else None,
        "until": until.isoformat() if until else None,
    }
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    client = connect(config, control, token_file)
    try:
        found = client.get(f"/v1/ledger?{query}")
    except CallError as error:
        fail(error)
    if as_json:
        print_json(found)
    elif as_csv:
        click.echo(_to_csv(found), nl=False)
    else:
        _show(found)


for _command in (records, verify, close):
    ledger.add_command(_command)


def _to_csv(found: dict[str, Any]) -> str:
    """As the appliance writes it at /v1/ledger.csv."""
    import msgspec

    from ocaserve.ledger.summary import Summary, as_csv

    times = {name: datetime.fromisoformat(found[name]).timestamp() for name in ("since", "until")}
    return as_csv(msgspec.convert({**found, **times}, Summary))


def _show(found: dict[str, Any]) -> None:
    what = "prefixes" if found["by"] == "prefix" else "networks"
    print_line(f"from {found['since']} to {found['until']}, {found['networks_seen']} {what}")
    print_line(_COLUMNS.format(found["by"], "bytes", "share", "95th", "peak"))
    for row in (*found["networks"], found["total"]):
        print_line(
            _COLUMNS.format(
                row["network"],
                f"{row['bytes']:,}",
                f"{row['share']:.1%}",
                quantity(row["p95_bits_per_s"], "bit/s"),
                quantity(row["peak_bits_per_s"], "bit/s"),
            )
        )

"""`ledger`: what was delivered to which client network."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import click

from ocaserve.cli.client import CallError, appliance_options, connect
from ocaserve.cli.output import fail, print_json

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_COLUMNS = "{:<28} {:>16} {:>7} {:>12} {:>12}"


@click.command()
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
@click.option("--since", metavar="TIME", help="From when: 2030-01-31T06:00, or 7d.  [default: 1d]")
@click.option("--until", metavar="TIME", help="To when; now without it.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def ledger(
    config: str | None,
    control: str | None,
    token_file: str | None,
    top: int,
    network: str | None,
    by: str,
    since: str | None,
    until: str | None,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show the bytes delivered, by client network, with the 95th percentile of their rate."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    asked = {
        "top": str(top),
        "network": network,
        "by": by,
        "since": _as_time("--since", since),
        "until": _as_time("--until", until),
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


def _as_time(option: str, given: str | None) -> str | None:
    """A time as RFC 3339, from an ISO 8601 one or from a span before now: 90m, 12h, 30d."""
    if given is None:
        return None
    try:
        if given[-1:] in _UNITS and given[:-1].isdigit():
            span = timedelta(seconds=int(given[:-1]) * _UNITS[given[-1]])
            return (datetime.now(UTC) - span).isoformat()
        return datetime.fromisoformat(given).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise click.UsageError(
            f"{option} {given!r}: must be a time such as 2030-01-31T06:00, or a span such as 7d"
        ) from None


def _to_csv(found: dict[str, Any]) -> str:
    """As the appliance writes it at /v1/ledger.csv."""
    import msgspec

    from ocaserve.ledger.summary import Summary, as_csv

    times = {name: datetime.fromisoformat(found[name]).timestamp() for name in ("since", "until")}
    return as_csv(msgspec.convert({**found, **times}, Summary))


def _show(found: dict[str, Any]) -> None:
    what = "prefixes" if found["by"] == "prefix" else "networks"
    click.echo(f"from {found['since']} to {found['until']}, {found['networks_seen']} {what}")
    click.echo(_COLUMNS.format(found["by"], "bytes", "share", "95th", "peak"))
    for row in (*found["networks"], found["total"]):
        click.echo(
            _COLUMNS.format(
                row["network"],
                f"{row['bytes']:,}",
                f"{row['share']:.1%}",
                _rate(row["p95_bits_per_s"]),
                _rate(row["peak_bits_per_s"]),
            )
        )


def _rate(bits_per_s: float) -> str:
    from ocaserve.health.words import amount

    return amount(bits_per_s, "bit/s")

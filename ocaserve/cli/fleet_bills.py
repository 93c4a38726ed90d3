"""`fleet bill` and `fleet ledger`: who is billed for what, and whether it is all there."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import IO, Any
from urllib.parse import quote, urlencode

import click
import msgspec

from ocaserve.cli.client import ask
from ocaserve.cli.fleet import connect_fleet, fleet_options
from ocaserve.cli.options import json_option
from ocaserve.cli.output import fail, print_json, print_line, quantity
from ocaserve.errors import SettingsError

_MONTHS = "{:<9} {:<18} {:>22} {:>12} {:>9} {:>13} {:>7}"


@click.command()
@click.argument("party")
@click.argument("month")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@fleet_options
@json_option
def bill(
    party: str, month: str, as_csv: bool,
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what PARTY got in MONTH (2026-11): bytes, 95th percentile, how complete it is."""
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    client = connect_fleet(address, token_file)
    if as_csv:
        query = urlencode({"month": month, "party": party})
        pieces = ask(lambda: list(client.pieces(f"/v1/bills.csv?{query}")))
        click.echo(b"".join(pieces), nl=False)
        return
    found = ask(lambda: client.get(f"/v1/bills/{quote(party, safe='')}/{quote(month, safe='')}"))
    if as_json:
        print_json(found)
    else:
        _show_bill(found)


def _show_bill(found: dict[str, Any]) -> None:
    signed = f"signed {found['issued']}" if found["signature"] else "as of now, not signed"
    print_line(f"{found['party']}, {found['month']}: {found['state']}, {signed}")
    print_line(f"delivered        {found['bytes']:>22,} bytes")
    for each in found["corrections"]:
        print_line(f"correction of {each['month']:<9}{each['bytes']:>16,} bytes")
        before, after = each["p95_before_bits_per_s"], each["p95_after_bits_per_s"]
        if before != after:
            print_line(
                f"  its 95th percentile: {quantity(before, 'bit/s')} -> {quantity(after, 'bit/s')}"
            )
    print_line(f"total            {found['total_bytes']:>22,} bytes")
    print_line(
        f"95th percentile  {quantity(found['p95_bits_per_s'], 'bit/s')} of {found['samples']:,} "
        f"periods; peak {quantity(found['peak_bits_per_s'], 'bit/s')}"
    )
    accepted = f"; accepted: {found['accepted']}" if found["accepted"] else ""
    print_line(
        f"complete         {found['completeness_percent']} %, "
        f"{found['missing_records']:,} records missing{accepted}"
    )


@click.group()
def ledger() -> None:
    """Look after the ledger that bills are made of."""


@ledger.command()
@fleet_options
@json_option
def status(address: str | None, token_file: str | None, as_json: bool) -> None:
    """Show its months: how complete they are, and which are closed."""
    client = connect_fleet(address, token_file)
    found = ask(lambda: client.get("/v1/ledger"))
    if as_json:
        print_json(found)
        return
    print_line(f"{found['ledger']}: {found['books']:,} books, {len(found['parties'])} parties")
    if found["fault"]:
        print_line(f"it cannot be asked: {found['fault']}")
    if found["parties_wait"]:
        print_line("the settings name other parties: `ocaserve fleet ledger migrate` changes them")
    print_line(
        _MONTHS.format("month", "state", "bytes", "records", "missing", "complete", "parked")
    )
    for each in found["months"]:
        print_line(
            _MONTHS.format(
                each["month"], each["state"], f"{each['bytes']:,}", f"{each['held']:,}",
                f"{each['missing']:,}", f"{each['completeness_percent']} %", each["parked"],
            )
        )  # fmt: skip


@ledger.command()
@click.argument("month", required=False)
@fleet_options
@json_option
def holes(month: str | None, address: str | None, token_file: str | None, as_json: bool) -> None:
    """List the records that are missing, of MONTH or of all that are open."""
    client = connect_fleet(address, token_file)
    query = f"?{urlencode({'month': month})}" if month else ""
    found = ask(lambda: client.get(f"/v1/ledger/holes{query}"))
    if as_json:
        print_json(found)
        return
    for each in found["holes"]:
        what = "silent" if each["tail"] else "missing"
        print_line(
            f"{each['appliance']}, book {each['book']}: {each['first']} to {each['last']} {what}, "
            f"from {_show_moment(each['since'])} to {_show_moment(each['until'])}"
        )
    if not found["holes"]:
        print_line("nothing is missing")


def _show_moment(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


@ledger.command()
@click.argument("month")
@click.option("--accept", "accepted", default="", metavar="REASON", help="Though records miss.")
@fleet_options
@json_option
def close(
    month: str, accepted: str, address: str | None, token_file: str | None, as_json: bool
) -> None:
    """Close MONTH for good, and issue its signed bills."""
    client = connect_fleet(address, token_file)
    wanted = {"month": month, "accepted": accepted}
    found = ask(lambda: client.post("/v1/ledger/close", wanted))
    if as_json:
        print_json(found)
        return
    for each in found["bills"]:
        print_line(
            f"{each['party']}: {each['total_bytes']:,} bytes, "
            f"95th percentile {quantity(each['p95_bits_per_s'], 'bit/s')}"
        )


@ledger.command(context_settings={"ignore_unknown_options": True})
@click.argument("party")
@click.argument("month")
@click.argument("count", metavar="BYTES", type=int)
@click.option("--reason", required=True, help="Why, as it stands on the bill.")
@click.option("--reference", required=True, help="Your own; the same is entered once.")
@fleet_options
@json_option
def correct(
    party: str, month: str, count: int, reason: str, reference: str,
    address: str | None, token_file: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Add BYTES (-500: take away) to what PARTY got in MONTH, on the next bill."""
    client = connect_fleet(address, token_file)
    wanted = {
        "party": party, "month": month, "bytes": count, "reason": reason, "reference": reference
    }  # fmt: skip
    found = ask(lambda: client.post("/v1/ledger/entries", wanted))
    if as_json:
        print_json(found)
    else:
        print_line(f"{found['bytes']:,} bytes on the bill of {found['billed_in']}")


@ledger.command()
@click.argument("bills", nargs=-1, required=True, type=click.File("rb"), metavar="FILE...")
@click.option(
    "--keys-file", required=True, type=click.Path(dir_okay=False),
    help="What is `fleet.bill_keys_file` there.",
)  # fmt: skip
def verify(bills: tuple[IO[bytes], ...], keys_file: str) -> None:
    """Say whether bills are as they were signed: FILE is what `fleet bill --json` printed.

    The exit status is 1 where one is not.
    """
    from ocaserve.bills.bill import Bill, is_signed
    from ocaserve.bills.from_settings import read_bill_keys

    try:
        keys = read_bill_keys(keys_file)
    except SettingsError as error:
        fail(error)
    wrong = 0
    for file in bills:
        try:
            found = msgspec.json.decode(file.read(), type=Bill)
        except (msgspec.DecodeError, OSError) as error:
            raise click.ClickException(f"{file.name}: {error}") from error
        is_right = is_signed(found, keys)
        wrong += not is_right
        what = (
            f"signed {found.issued} by the key {found.key}" if is_right else "not as it was signed"
        )
        print_line(f"{file.name}: {found.party}, {found.month}: {what}")
    if wrong:
        sys.exit(1)

"""`ledger records`, `verify` and `close`: closed periods, as bills are made of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import click

from ocaserve.cli.client import ControlClient, appliance_options, ask, connect
from ocaserve.cli.options import json_option
from ocaserve.cli.output import print_json, print_line

_ROW = "{:>10}  {:<20} {:>16} {:>9}  {}"
_PAGE = 1_000
_NONE = "no period is closed yet"


@click.command()
@click.option("--after", type=click.IntRange(0), metavar="SEQ", help="Only those behind this one.")
@click.option("--book", metavar="UUID", help="Of this book; of the newest without it.")
@click.option("--limit", type=click.IntRange(1, _PAGE), default=20, show_default=True)
@json_option
@appliance_options
def records(
    after: int | None,
    book: str | None,
    limit: int,
    as_json: bool,
    config: str | None,
    control: str | None,
    token_file: str | None,
) -> None:
    """Show closed periods, as the fleet is told of them."""
    client = connect(config, control, token_file)
    asked = {"after": after, "book": book, "limit": limit}
    given = {name: value for name, value in asked.items() if value is not None}
    found = _fetch(client, **given)
    if as_json:
        print_json(found)
        return
    if not found["book"]:
        click.echo(_NONE)
        return
    print_line(
        f"{found['appliance']}, book {found['book']}: records {found['first']} to {found['last']}"
    )
    click.echo(_ROW.format("record", "begin", "bytes", "networks", "digest"))
    for each in found["records"]:
        click.echo(
            _ROW.format(
                each["seq"], _moment(each["start"]), f"{each['total']:,}",
                len(each["networks"]), each["digest"][:16],
            )
        )  # fmt: skip


@click.command()
@json_option
@appliance_options
def verify(as_json: bool, config: str | None, control: str | None, token_file: str | None) -> None:
    """Verify the chain of all records that the appliance keeps; status 1 where one is wrong."""
    client = connect(config, control, token_file)
    names = [each["book"] for each in _fetch(client, limit=1)["books"]]
    verdicts = [_verify(client, name) for name in names]
    if as_json:
        print_json({"books": verdicts})
    else:
        for each in verdicts:
            span = f"records {each['first']} to {each['last']}, {each['bytes']:,} bytes"
            print_line(f"book {each['book']}: {each['fault'] or f'{span}: the chain holds'}")
        if not verdicts:
            click.echo(_NONE)
    if any(each["fault"] for each in verdicts):
        sys.exit(1)


def _verify(client: ControlClient, book: str) -> dict[str, Any]:
    """What is found of one book. `first` and `last`: of the records that were verified."""
    import msgspec

    from ocaserve.ledger.records import ChainError, LedgerRecord, verify_chain

    first = last = None
    total = 0
    fault = ""
    try:
        for page in _pages(client, book):
            read = msgspec.convert(page, list[LedgerRecord])
            last = verify_chain(read, last)
            first = first or read[0]
            total += sum(record.total for record in read)
    except ChainError as error:
        fault = str(error)
    except msgspec.ValidationError as error:
        fault = f"what the appliance answers is no record: {error}"
    return {
        "book": book,
        "first": first.seq if first else 0,
        "last": last.seq if last else 0,
        "bytes": total,
        "fault": fault,
    }


def _pages(client: ControlClient, book: str) -> Iterator[list[Any]]:
    """All records that are kept, in order."""
    page = _fetch(client, book=book, limit=_PAGE)
    while page["records"]:
        yield page["records"]
        page = _fetch(client, book=book, limit=_PAGE, after=page["records"][-1]["seq"])


def _fetch(client: ControlClient, **query: object) -> dict[str, Any]:
    return ask(lambda: client.get(f"/v1/ledger/records?{urlencode(query)}"))


@click.command()
@json_option
@appliance_options
def close(as_json: bool, config: str | None, control: str | None, token_file: str | None) -> None:
    """Close the period that runs, before the appliance is taken away.

    What it sends until the period is over counts in the next one. Drain it before, and see with
    `ocaserve ledger records` and at the fleet that all is told.
    """
    client = connect(config, control, token_file)
    closed = ask(lambda: client.post("/v1/ledger/close"))
    if as_json:
        print_json(closed)
    else:
        print_line(
            f"closed: record {closed['seq']} of book {closed['book']}, from "
            f"{_moment(closed['start'])} on, {closed['total']:,} bytes"
        )


def _moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"

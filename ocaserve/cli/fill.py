"""`fill`: content that arrives by itself; and making the manifest that says which."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import click
import msgspec

from ocaserve.cli.client import appliance_options, connect
from ocaserve.cli.options import json_option
from ocaserve.cli.output import fail, print_json, print_line
from ocaserve.errors import OcaserveError

Answer = TypeVar("Answer")

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MOST_WANTED = 3
_WATCH_S = 1.0


@click.group()
def fill() -> None:
    """Fill the stores as a manifest says, and see how far that is."""


def _ask(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except OcaserveError as error:
        fail(error)


def _bytes(count: float) -> str:
    place = 0
    while count >= 1000 and place < len(_UNITS) - 1:
        count /= 1000
        place += 1
    return f"{count:.1f} {_UNITS[place]}" if place else f"{count:.0f} B"


@fill.command()
@appliance_options
@click.option("--watch", is_flag=True, help="Show it anew every second, until Ctrl-C.")
@json_option
def status(
    config: str | None, control: str | None, token_file: str | None, watch: bool, as_json: bool
) -> None:
    """Show how far fill is, from where it comes, and what waits for what."""
    client = connect(config, control, token_file)
    while True:
        found = _ask(lambda: client.get("/v1/fill/status"))
        if as_json:
            print_json(found)
        else:
            if watch and sys.stdout.isatty():
                click.clear()
            _show(found)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _show(found: dict[str, Any]) -> None:
    why = f": {found['why']}" if found["why"] else ""
    print_line(f"{found['state']}{why}")
    print_line(f"manifest {found['manifest'] or 'none yet'}, of {found['manifest_at'] or 'never'}")
    if found["manifest_fault"]:
        print_line(f"  {found['manifest_fault']}")
    for name in ("wanted", "here", "missing"):
        part = found[name]
        print_line(f"{name:<8} {part['objects']:>9,} objects {_bytes(part['bytes']):>10}")
    ends = f", all is here at {found['ends']}" if found["ends"] else ""
    print_line(f"fetching {8 * found['bits_per_s'] / 8e6:.1f} Mbit/s{ends}")
    if found["window_changes"]:
        word = "closes" if found["is_open"] else "opens"
        print_line(f"the window {word} at {found['window_changes']}")
    received = ", ".join(f"{_bytes(n)} from {tier}s" for tier, n in found["received"].items())
    print_line(f"since the start: {found['published']} published, {received or 'nothing received'}")
    for each in found["doing"]:
        share = each["bytes_done"] / each["size"] if each["size"] else 1.0
        print_line(f"  {each['key']}: {share:.0%} of {_bytes(each['size'])} to {each['store']}")
    for each in found["most_wanted"][:_MOST_WANTED]:
        print_line(f"wanted most: {each['key']}, sent {each['copies_per_day']:g} times a day")
    for each in found["waiting"]:
        print_line(f"waiting: {each['objects']:,} objects: {each['why']}")
    for each in found["dropped"]:
        print_line(f"left alone for {each['for_s']:.0f} s: {each['origin']}: {each['why']}")
    if found["last_failure"]:
        print_line(f"last failure: {found['last_failure']}")


@fill.command()
@appliance_options
@click.option("--kind", type=click.Choice(["fetch", "keep", "evict", "wait"]))
@click.option("--limit", type=click.IntRange(0, 10_000), default=100, show_default=True)
@json_option
def plan(
    config: str | None,
    control: str | None,
    token_file: str | None,
    kind: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show what would be fetched, kept and evicted now, and why."""
    client = connect(config, control, token_file)
    query = urlencode({"limit": limit, **({"kind": kind} if kind else {})})
    found = _ask(lambda: client.get(f"/v1/fill/plan?{query}"))
    if as_json:
        print_json(found)
        return
    for each in found["actions"]:
        where = f" to {each['store']}" if each["kind"] == "fetch" else ""
        per_day = each["copies_per_day"]
        wanted = f", sent {per_day:g} times a day" if per_day else ""
        what = f"{each['key']} ({_bytes(each['size'])}){where}"
        print_line(f"{each['kind']:<6} {what}: {each['why']}{wanted}")
    if found["cut"]:
        print_line(f"… and {found['cut']:,} more")
    for name, part in found["sums"].items():
        print_line(f"{name}: {part['objects']:,} objects, {_bytes(part['bytes'])}")


@fill.command()
@click.argument("manifest", type=click.File("rb"))
@appliance_options
def put(manifest: Any, config: str | None, control: str | None, token_file: str | None) -> None:
    """Have the appliance take a manifest: a file, or - for standard input."""
    client = connect(config, control, token_file)
    data = manifest.read()
    found = _ask(lambda: client.put("/v1/fill/manifest", data))
    print_line(f"manifest {found['version']} with {found['objects']:,} objects")


@fill.command()
@click.argument("entries", type=click.File("rb"))
@appliance_options
def add(entries: Any, config: str | None, control: str | None, token_file: str | None) -> None:
    """Add objects to the manifest: {"objects": [...]} in a file, or - for standard input."""
    client = connect(config, control, token_file)
    try:
        body = msgspec.json.decode(entries.read())
    except msgspec.DecodeError as error:
        raise click.UsageError(f"not JSON: {error}") from None
    found = _ask(lambda: client.post("/v1/fill/add", body))
    print_line(f"manifest {found['version']} with {found['objects']:,} objects")


@fill.command()
@appliance_options
def retry(config: str | None, control: str | None, token_file: str | None) -> None:
    """Try again now whatever waits, from sources that were left alone too."""
    client = connect(config, control, token_file)
    _ask(lambda: client.post("/v1/fill/retry"))


@fill.command()
@appliance_options
def verify(config: str | None, control: str | None, token_file: str | None) -> None:
    """Read all that is stored again, at the scrub's rate; what is damaged is fetched again."""
    client = connect(config, control, token_file)
    _ask(lambda: client.post("/v1/fill/verify"))


@fill.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--source",
    "urls",
    multiple=True,
    metavar="URL",
    help="Where the objects can be had: keys are put behind it. The first is the nearest.",
)
@click.option(
    "--tier", type=click.Choice(["peer", "tier", "origin"]), default="origin", show_default=True
)
@click.option(
    "--piece-bytes", type=click.IntRange(64 << 10, 1 << 30), default=8 << 20, show_default=True
)
@click.option("--version", "name", default="", help="Of the manifest; the time without it.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path))
def manifest(
    directory: Path,
    urls: Sequence[str],
    tier: Any,
    piece_bytes: int,
    name: str,
    output: Path | None,
) -> None:
    """Make a manifest of all objects below a directory, with digests of their pieces."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    from ocaserve.fill.making import describe_file, find_files, make_manifest
    from ocaserve.fill.manifest import Source
    from ocaserve.urls import is_http_url

    for url in urls:
        if not is_http_url(url):
            raise click.UsageError(f"--source {url!r}: must be an http or https URL")
    try:
        files = list(find_files(directory))
        console = Console(stderr=True)
        entries = []
        with Progress(
            BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console,
            disable=not console.is_terminal,
        ) as bar:  # fmt: skip
            task = bar.add_task("reading", total=sum(size for _, size in files))
            for key, _ in files:
                sources = [Source(tier=tier, url=f"{url.rstrip('/')}/{quote(key)}") for url in urls]
                entries.append(
                    describe_file(
                        directory, key, piece_bytes, sources, lambda n: bar.advance(task, n)
                    )
                )
    except (OSError, ValueError) as error:
        fail(OcaserveError(str(error)))
    data = msgspec.json.encode(make_manifest(entries, name)) + b"\n"
    if output is None:
        sys.stdout.buffer.write(data)
    else:
        output.write_bytes(data)
        print_line(f"{output}: {len(entries):,} objects")

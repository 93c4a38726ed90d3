"""`follow`: fetch an object as a following client does."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeAlias
from urllib.parse import urlsplit

import click

from ocaserve.cli.options import json_option, span, typed
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError
from ocaserve.urls import is_http_url

if TYPE_CHECKING:
    from ocaserve.client import ListSource, News, Outcome, PartialFile, Stream

    Kept: TypeAlias = PartialFile | Stream

_FLEET = "http://127.0.0.1:8088"
_STREAM = "-"


class _From(NamedTuple):
    """A list, or where it is asked for."""

    urls: list[str]
    source: ListSource | None


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise click.BadParameter(f"{value!r}: must be an IPv4 or IPv6 address") from None


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        raise click.BadParameter(f"{value!r}: must be 64 hexadecimal digits")
    return value.lower()


def _fleet(value: str) -> str:
    if not is_http_url(value):
        raise click.BadParameter(f"{value!r}: must be an http or https URL")
    return value


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="KEY|URL [URL]...")
@click.option(
    "--fleet", default=_FLEET, show_default=True, metavar="URL", callback=typed(_fleet),
    help="The control plane that is asked for the servers of KEY.",
)  # fmt: skip
@click.option(
    "--as", "address", metavar="IP", callback=typed(_address),
    help="Ask for the servers of a client with this address.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(dir_okay=False),
    help="File that holds a token of role `steer`, for --as.",
)  # fmt: skip
@click.option(
    "-o", "--output", metavar="FILE",
    help="Where it is kept; `-` is standard output. Without it, only its digest is made.",
)  # fmt: skip
@click.option("--sha256", metavar="HEX", callback=typed(_sha256), help="What its digest must be.")
@click.option(
    "--stall", callback=typed(span), default="5s", show_default=True, metavar="SPAN",
    help="Leave a server that sends no byte, or is judged too slow, over so long.",
)  # fmt: skip
@click.option(
    "--min-rate", type=click.IntRange(0), default=16_384, show_default=True, metavar="BYTES",
    help="A second; a server that sends less is left where there is another.",
)  # fmt: skip
@click.option(
    "--give-up", callback=typed(span), default="5m", show_default=True, metavar="SPAN",
    help="End when no server has sent a byte for so long.",
)  # fmt: skip
@json_option
def follow(
    what: tuple[str, ...],
    fleet: str,
    address: str | None,
    token_file: str | None,
    output: str | None,
    sha256: str | None,
    stall: timedelta,
    min_rate: int,
    give_up: timedelta,
    as_json: bool,
) -> None:
    """Fetch an object from the best of several servers, going on at the next when one fails.

    KEY is an object of a control plane, which names the servers and is asked again when its answer
    is over. Or name the URLs of equal copies, best first; a URL of the form .../r/KEY leads to a
    list of them.

    A server that fails, stalls or is too slow is left, and the next one goes on at the same byte,
    if its entity-tag says that the copies are equal. A file that was begun is gone on with.
    """
    from ocaserve.client import Patience

    stall_s = stall.total_seconds()
    if not 0.1 <= stall_s <= 300:
        raise click.UsageError("--stall: must be 1s to 5m")
    patience = Patience(
        first_byte_s=stall_s, stall_s=stall_s, judge_s=stall_s, min_bytes_per_s=min_rate,
        give_up_s=give_up.total_seconds(),
    )  # fmt: skip
    chosen = _choose(what, fleet, address, token_file)
    began = time.monotonic()
    try:
        with _keep(output) as kept, _Telling(began) as telling:
            outcome = asyncio.run(_run(chosen, kept, patience, telling))
            digest = kept.finish(sha256)
    except OcaserveError as error:
        fail(error)
    facts = _facts(outcome, digest, time.monotonic() - began, output)
    if as_json:
        print_json(facts)
    else:
        click.echo(_describe(facts), err=output == _STREAM)


def _choose(
    what: tuple[str, ...], fleet: str, address: str | None, token_file: str | None
) -> _From:
    """What the words of the command line name. Raises click.UsageError."""
    from ocaserve.client import Redirect, Steering
    from ocaserve.client.asking import redirect_of

    urls = [each for each in what if re.match(r"https?://", each)]
    for url in urls:
        if not is_http_url(url):
            raise click.UsageError(f"{url!r}: must be an http or https URL")
    if urls and (len(urls) != len(what) or address or token_file):
        raise click.UsageError("name one KEY, with --as if you like, or only URLs")
    if len(urls) == 1 and urlsplit(urls[0]).path.startswith("/r/"):
        return _From([], Redirect(urls[0]))
    if urls:
        return _From(list(dict.fromkeys(urls)), None)
    if len(what) != 1:
        raise click.UsageError("name one KEY, or the URLs of one object")
    key = what[0].lstrip("/")
    if address is None:
        if token_file:
            raise click.UsageError("--token-file is for --as")
        return _From([], Redirect(redirect_of(fleet, key)))
    return _From([], Steering(fleet, key, address=address, token=_read_token(token_file)))


def _read_token(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise click.UsageError(f"--token-file {file}: {error}") from None


@contextmanager
def _keep(output: str | None) -> Iterator[Kept]:
    from ocaserve.client import PartialFile, Stream

    if output is None:
        yield Stream(lambda _: None)
    elif output == _STREAM:
        yield Stream(_write_out)
    else:
        with PartialFile(Path(output)) as file:
            yield file


def _write_out(chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


async def _run(chosen: _From, kept: Kept, patience: Any, telling: _Telling) -> Outcome:
    from ocaserve.client import Begun, follow, make_session

    begun = getattr(kept, "begun", Begun())
    telling.begun(begun.position)
    async with make_session() as session:
        return await follow(
            session, kept, urls=chosen.urls, source=chosen.source, patience=patience,
            begun=begun, tell=telling,
        )  # fmt: skip


class _Telling:
    """Says on standard error what happens: a bar on a terminal, a line for each change."""

    def __init__(self, began: float) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )  # fmt: skip

        self._began = began
        self._said: set[type[News]] = set()  # since the last byte
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(),
            TransferSpeedColumn(), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=None)
        self._console = console

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begun(self, position: int) -> None:
        """So much is there of an earlier run."""
        if position:
            self._say(f"{position} bytes are there: going on")

    def __call__(self, news: News) -> None:
        from ocaserve.client import Anew, Asked, Change, Going, NotHeard, NotTold, Waiting

        match news:
            case Going(position, size):
                self._said.clear()
                self._bar.update(self._task, completed=position, total=size)
            case Change(byte, before, after, why):
                self._say(f"byte {byte}: {before} -> {after}: {why}")
            case Asked(urls, _):
                self._say_once(news, f"{urls} servers are named")
            case NotTold(why):
                self._say_once(news, f"no list: {why}")
            case NotHeard(why):
                self._say(f"how it went was not taken: {why}")
            case Waiting(why):
                self._say_once(news, f"waiting: {why}")
            case Anew():
                self._say("no server has that version any more: begun anew")

    def _say_once(self, news: News, text: str) -> None:
        """Not again before a byte has come."""
        if type(news) not in self._said:
            self._said.add(type(news))
            self._say(text)

    def _say(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        self._console.print(f"{seconds:7.2f} s  {text}", markup=False)


def _facts(outcome: Outcome, digest: str, seconds: float, output: str | None) -> dict[str, Any]:
    return {
        "file": None if output in (None, _STREAM) else output,
        "size": outcome.version.size,
        "etag": outcome.version.tag,
        "sha256": digest,
        "seconds": round(seconds, 3),
        "received": outcome.received,
        "changes": [change._asdict() for change in outcome.changes],
        "servers": [server._asdict() for server in outcome.servers],
    }


def _describe(facts: dict[str, Any]) -> str:
    rate = facts["received"] / max(facts["seconds"], 1e-3) / 1e6
    lines = [
        f"{facts['file'] or 'not kept'}: {facts['size']} bytes in {facts['seconds']:.1f} s, "
        f"{rate:.1f} MB/s; {len(facts['changes'])} changes of server",
        f"SHA-256 {facts['sha256']}",
    ]
    for server in facts["servers"]:
        first = server["first_byte_s"]
        speed = server["bytes_per_s"]
        measured = [
            *([f"first byte in {first * 1000:.0f} ms"] if first is not None else []),
            *([f"{speed / 1e6:.1f} MB/s"] if speed is not None else []),
        ]
        said = ", ".join([f"{server['bytes']} bytes", *measured])
        lines.append(f"  {server['server']}: {said}")
    return "\n".join(lines)

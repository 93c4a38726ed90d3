"""`ocaserve follow` through real appliances that are killed, drip, differ, or want signatures."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ocaserve.signing import sign_url
from tests.client.trial import follow, run_trial
from tests.support.content import MODIFIED, blob, write_object
from tests.support.mortal import Mortal
from tests.support.relay import Relay
from tests.support.waiting import until

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

SIZE = 12_000_000
FILM = blob(SIZE)
DIGEST = hashlib.sha256(FILM).hexdigest()
QUIET = '[serve]\naccess_log = "off"\n'
PACED = f"{QUIET}[serve.limits]\npace_bits_per_s = 80000000\n"
SECRET = "ab" * 32


Answer = Callable[[web.Request], Awaitable[web.Response]]
Start = Callable[..., Awaitable[tuple[Mortal, Relay]]]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one film."""
    folder = tmp_path_factory.mktemp("content")
    write_object(folder, "film", FILM)
    return folder


@pytest.fixture(scope="module")
def steady(content: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mortal]:
    """An appliance that lives as long as the tests do."""
    with Mortal.serving(content, tmp_path_factory.mktemp("steady") / "1", PACED) as made:
        yield made


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts an appliance on a folder, with a relay before it."""
    numbers = itertools.count()
    async with AsyncExitStack() as stack:

        async def start(folder: Path, toml: str = PACED) -> tuple[Mortal, Relay]:
            scratch = tmp_path / str(next(numbers))
            made = stack.enter_context(Mortal.serving(folder, scratch, toml))
            return made, await stack.enter_async_context(Relay.before(made.port))

        yield start


@pytest.fixture
async def relay(steady: Mortal) -> AsyncIterator[Relay]:
    """Before the steady one."""
    async with Relay.before(steady.port) as made:
        yield made


@asynccontextmanager
async def stand_in(answer: Answer) -> AsyncIterator[str]:
    """A control plane that answers so."""
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def lead(*urls: str) -> web.Response:
    """As `/r/KEY` does."""
    response = web.Response(status=307, headers={"Location": urls[0]})
    for place, url in enumerate(urls[1:], 1):
        response.headers.add("Link", f"<{url}>; rel=duplicate; pri={place}")
    return response


def faults(told: dict[str, Any]) -> list[str]:
    """The kinds of the faults for which servers were left, in order."""
    return [each["why"].partition(":")[0] for each in told["changes"]]


@pytest.mark.slow
async def test_eight_kills(tmp_path: Path) -> None:
    """50 MB through 8 kills: the bytes are right, and next to none come twice.

    `make trial-follow` is twenty of them in a gigabyte.
    """
    result = await run_trial(tmp_path, 50_000_000, 8, 100_000_000, seed=7)
    assert result.is_right, result.said
    assert result.kills == 8
    assert result.sent <= 50_500_000
    assert len(result.told["changes"]) >= 6


async def test_drip_is_left(steady: Mortal, relay: Relay) -> None:
    """A server that begins well and then sends a byte now and then; it would take days."""

    def begin_to_drip() -> None:
        if relay.sent > 2_000_000:
            relay.drip_bytes_per_s = 100

    relay.tell = begin_to_drip
    urls = [f"{relay.url}/film", f"http://127.0.0.1:{steady.port}/film"]
    told, said = await follow(*urls, "--stall", "1s")
    assert told.get("sha256") == DIGEST, said
    assert faults(told)[0] in ("slow", "stalled")
    assert told["changes"][0]["byte"] >= 1_000_000
    assert told["received"] == SIZE


async def test_other_content_is_not_mixed_in(tmp_path: Path, content: Path, serve: Start) -> None:
    """An object of the same name and size that is another one, on the server that is next."""
    other = tmp_path / "other"
    write_object(other, "film", blob(SIZE, seed=9), MODIFIED + 1)
    first, one = await serve(content)
    _, two = await serve(other)
    _, three = await serve(content)
    one.tell = kill_when(lambda: one.sent > 3_000_000, first)
    told, said = await follow(*(f"{each.url}/film" for each in (one, two, three)))
    assert told.get("sha256") == DIGEST, said
    assert faults(told)[:2] == ["cut", "changed"]
    assert two.sent < 3_000_000


def kill_when(holds: Callable[[], bool], *appliances: Mortal) -> Callable[[], None]:
    """For `Relay.tell`: kill them once."""
    done: list[bool] = []

    def look() -> None:
        if not done and holds():
            done.append(True)
            for each in appliances:
                each.kill()

    return look


async def test_all_gone_and_one_back(content: Path, serve: Start) -> None:
    first, one = await serve(content)
    second, two = await serve(content)
    one.tell = kill_when(lambda: one.sent > 4_000_000, first, second)
    urls = [f"{each.url}/film" for each in (one, two)]
    following = asyncio.ensure_future(follow(*urls))
    await until(lambda: two.connections >= 2)  # none is there, and they are tried again
    await asyncio.to_thread(second.start)
    told, said = await following
    assert told.get("sha256") == DIGEST, said
    assert "waiting: " in said
    assert one.sent + two.sent <= SIZE * 1.01


async def test_signatures_that_end(content: Path, serve: Start) -> None:
    """Asked again for URLs: the first is over from the start, others in the midst of it."""
    signing = f'[signing]\nrequired = true\nclock_skew_s = 0\n[signing.keys]\n"1" = "{SECRET}"\n'
    _, relay = await serve(content, f"{PACED}{signing}")
    cuts = [3_000_000, 8_000_000]
    ends = [-10, 1, 1, 1, 60]
    asked = []

    def cut() -> None:
        if cuts and relay.sent > cuts[0]:
            cuts.pop(0)
            relay.drop()

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        end = int(time.time()) + ends[min(len(asked), len(ends)) - 1]
        secret = bytes.fromhex(SECRET)
        return lead(sign_url(f"{relay.url}/film", version="1", secret=secret, expires=end))

    relay.tell = cut
    async with stand_in(answer) as fleet:
        told, said = await follow("film", "--fleet", fleet)
    assert told.get("sha256") == DIGEST, said
    assert len(asked) >= 2
    assert set(asked) == {"/r/film"}
    assert told["received"] == SIZE
    assert not re.search(r"[A-Za-z0-9_-]{43}", said)


async def test_control_plane_is_gone(content: Path, serve: Start) -> None:
    """What it handed out works on; a server that fails is left as ever."""
    first, one = await serve(content)
    _, two = await serve(content)
    one.tell = kill_when(lambda: one.sent > 3_000_000, first)
    lists = [lead(f"{one.url}/film", f"{two.url}/film")]

    async def answer(_: web.Request) -> web.Response:
        return lists.pop() if lists else web.Response(status=503)

    async with stand_in(answer) as fleet:
        told, said = await follow(f"{fleet}/r/film")
    assert told.get("sha256") == DIGEST, said
    assert faults(told)[0] == "cut"


async def test_for_another_address(relay: Relay, tmp_path: Path) -> None:
    """By a decision of the control plane, with a token from a file."""
    (tmp_path / "token").write_text("steer-token\n")
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.path, request.headers.get("Authorization"), await request.json()))
        urls = [f"{relay.url}/film"]
        return web.json_response({"decision": "d", "ttl_s": 60, "objects": {"film": urls}})

    async with stand_in(answer) as fleet:
        words = ["--as", "192.0.2.7", "--token-file", str(tmp_path / "token")]
        told, said = await follow("film", "--fleet", fleet, *words)
    assert told.get("sha256") == DIGEST, said
    body = {"client": {"ip": "192.0.2.7"}, "objects": ["film"]}
    assert asked == [("/v1/steer", "Bearer steer-token", body)]


async def test_goes_on_where_it_was_killed(relay: Relay, tmp_path: Path) -> None:
    """A partial file is kept by kill -9, and the file is not there before it is whole."""
    file = tmp_path / "film"
    words = [f"{relay.url}/film", "-o", str(file)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ocaserve", "follow", *words, stderr=asyncio.subprocess.DEVNULL
    )
    await until(lambda: relay.sent > 5_000_000)
    process.kill()
    await process.wait()
    assert not file.exists()
    there = (tmp_path / "film.part").stat().st_size
    assert there > 1_000_000
    told, said = await follow(*words)
    assert told.get("sha256") == DIGEST, said
    assert f"{there} bytes are there" in said
    assert told["received"] == SIZE - there
    assert file.read_bytes() == FILM
    assert "film.part" not in os.listdir(tmp_path)
    assert "film.part.json" not in os.listdir(tmp_path)


async def test_object_was_replaced_meanwhile(relay: Relay, tmp_path: Path) -> None:
    """What is there of the old one is thrown away, since nobody has the rest."""
    (tmp_path / "film.part").write_bytes(FILM[:5_000])
    (tmp_path / "film.part.json").write_text(json.dumps(['"an-old-one"', SIZE]))
    told, said = await follow(f"{relay.url}/film", "-o", str(tmp_path / "film"))
    assert told.get("sha256") == DIGEST, said
    assert "begun anew" in said
    assert (tmp_path / "film").read_bytes() == FILM


async def test_to_standard_output(steady: Mortal, relay: Relay) -> None:
    """Into a pipe that is read slowly: that is no fault of the server."""
    urls = [f"{relay.url}/film", f"http://127.0.0.1:{steady.port}/film"]
    command = [sys.executable, "-m", "ocaserve", "follow", *urls, "-o", "-"]
    command += ["--stall", "1s", "--min-rate", "1000000"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1 << 16
    )
    assert process.stdout is not None
    assert process.stderr is not None
    found = await process.stdout.read(1_000)
    await asyncio.sleep(2.5)  # the time in which a server would be left
    found += await process.stdout.read()
    said = (await process.stderr.read()).decode()
    assert await process.wait() == 0, said
    assert found == FILM
    assert DIGEST in said
    assert " -> " not in said


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocaserve", "follow", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_nobody_there(tmp_path: Path) -> None:
    """Given up in time, with the reason."""
    done = run("http://127.0.0.1:1/film", "--give-up", "1s", "-o", str(tmp_path / "film"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ocaserve: no byte in 1 s"
    assert "waiting: unreachable: Connection refused" in done.stderr
    assert os.listdir(tmp_path) == []


def test_wrong_digest(steady: Mortal, tmp_path: Path) -> None:
    """Nothing is kept of what is not what it must be."""
    url = f"http://127.0.0.1:{steady.port}/film"
    done = run(url, "--sha256", "ab" * 32, "-o", str(tmp_path / "film"))
    assert done.returncode == 1
    assert f"SHA-256 is {DIGEST}, not {'ab' * 32}; nothing was kept" in done.stderr
    assert os.listdir(tmp_path) == []

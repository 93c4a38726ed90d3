"""A trial of following: real appliances are killed whole while one download goes through them.

    python -m tests.client.trial --bytes 1000000000 --kills 20

Each time that a random byte has come, whoever sends it is killed (SIGKILL, all its processes) and
started again. What came through is counted between the servers and the client.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import random
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.mortal import Mortal
from tests.support.relay import Relay

_APPLIANCES = 5
_PIECE = 1 << 20
_PACED = '[serve]\naccess_log = "off"\n[serve.limits]\npace_bits_per_s = {0}\n'


class Result(NamedTuple):
    """kills: that were done. sent: bytes from all servers. told: what the command printed."""

    kills: int
    sent: int
    told: dict[str, Any]
    is_right: bool
    said: str


async def run_trial(folder: Path, size: int, kills: int, bits_per_s: int, seed: int) -> Result:
    """One download of so many bytes through so many kills."""
    chance = random.Random(seed)
    content = folder / "content"
    digest = _make_content(content, size, chance)
    async with AsyncExitStack() as stack:
        appliances = [
            stack.enter_context(Mortal.serving(content, folder / str(n), _PACED.format(bits_per_s)))
            for n in range(_APPLIANCES)
        ]
        relays = [await stack.enter_async_context(Relay.before(each.port)) for each in appliances]
        reaper = _Reaper(appliances, relays, sorted(chance.sample(range(size), kills)))
        output = folder / "film"
        told, said = await follow(*(f"{each.url}/film" for each in relays), "-o", str(output))
        await reaper.end()
    is_right = digest == told.get("sha256") == await asyncio.to_thread(_digest_of, output)
    return Result(reaper.kills, sum(each.sent for each in relays), told, is_right, said)


async def follow(*words: str) -> tuple[dict[str, Any], str]:
    """What `ocaserve follow --json` prints, and what it says; {} where it fails."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ocaserve", "follow", "--json", *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return (json.loads(out) if process.returncode == 0 else {}), err.decode()


class _Reaper:
    """Kills whoever sends when the next of its bytes has come, and starts it again."""

    def __init__(self, appliances: list[Mortal], relays: list[Relay], bytes_: list[int]) -> None:
        self.kills = 0
        self._relays = relays
        self._bytes = bytes_
        self._again: dict[int, asyncio.Future[None]] = {}
        for number, (appliance, relay) in enumerate(zip(appliances, relays, strict=True)):
            relay.tell = lambda n=number, a=appliance: self._look(n, a)  # type: ignore[misc]

    def _look(self, number: int, appliance: Mortal) -> None:
        """One of them has sent something."""
        if not self._bytes or sum(each.sent for each in self._relays) < self._bytes[0]:
            return
        if number in self._again and not self._again[number].done():
            return  # what is on the way of one that is being killed
        self._bytes.pop(0)
        self.kills += 1
        self._again[number] = asyncio.ensure_future(asyncio.to_thread(_kill, appliance))

    async def end(self) -> None:
        await asyncio.gather(*self._again.values())


def _kill(appliance: Mortal) -> None:
    appliance.kill()
    appliance.start()


def _make_content(folder: Path, size: int, chance: random.Random) -> str:
    folder.mkdir()
    digest = hashlib.sha256()
    with (folder / "film").open("wb") as film:
        for start in range(0, size, _PIECE):
            piece = chance.randbytes(min(_PIECE, size - start))
            digest.update(piece)
            film.write(piece)
    return digest.hexdigest()


def _digest_of(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def main() -> None:
    """Run one, and say how it was; status 1 where it is not as it must be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--bits-per-s", type=int, default=400_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ocaserve-follow-") as folder:
        result = asyncio.run(
            run_trial(Path(folder), given.bytes, given.kills, given.bits_per_s, given.seed)
        )
    more = result.sent / given.bytes - 1
    print(result.said, end="")
    print(
        f"{given.bytes} bytes, {result.kills} kills, seed {given.seed}: "
        f"{'right' if result.is_right else 'WRONG'}, {more:.3%} more were sent, "
        f"{result.told.get('seconds')} s"
    )
    sys.exit(not (result.is_right and result.kills == given.kills and more <= 0.01))


if __name__ == "__main__":
    main()

"""The process that fills is killed again and again: nothing wrong is visible, little comes again.

`make trial-fill` kills it a hundred times, at random.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.content import blob, write_object
from tests.support.daemon import Daemon
from tests.support.filling import (
    PIECE,
    Origin,
    assert_same,
    is_whole,
    make_manifest,
    put,
    settings,
)
from tests.support.waiting import eventually

_TRANSFERS, _LANES = 2, 2


class Found(NamedTuple):
    """fetched: bytes that the origin sent, whole: bytes of all objects; wrong: keys that were
    visible with other bytes than the manifest's.
    """

    kills: int
    fetched: int
    whole: int
    wrong: list[str]

    @property
    def most(self) -> int:
        """What may be fetched: a piece under way in each lane, and what the sockets held."""
        return self.whole + self.kills * 2 * _TRANSFERS * _LANES * PIECE


def try_kills(master: Path, scratch: Path, kills: int, seed: int, seconds: float) -> Found:
    """Kill so many times while all is fetched, which takes so long without; then let it finish."""
    store = scratch / "store"
    store.mkdir()
    origin, chance = Origin(master), random.Random(seed)
    manifest = make_manifest(master, origin.url)
    whole = sum(entry["size"] for entry in manifest["objects"])
    digests = {entry["key"]: entry["sha256"] for entry in manifest["objects"]}
    toml = settings(
        scratch / "s", "oca-1", rate_bits_per_s=8 * whole / seconds, transfers=_TRANSFERS,
        lanes=_LANES,
    )  # fmt: skip
    wrong: list[str] = []
    done = 0
    try:
        with Daemon.serving(store, toml=toml, workers=1) as daemon:
            put(daemon, manifest)
            while done < kills:
                sent = origin.sent
                eventually(
                    lambda sent=sent: origin.sent > sent or is_whole(daemon),  # type: ignore[misc]
                    "more came",
                    timeout_s=60,
                )
                time.sleep(chance.uniform(0, 0.3))
                pid = daemon.service("fill")
                if is_whole(daemon):
                    break
                if pid is not None:
                    os.kill(pid, signal.SIGKILL)
                    done += 1
                wrong += find_wrong(store, digests)
            eventually(lambda: is_whole(daemon), "it is whole", timeout_s=seconds + 120)
            assert_same(master, store)
    finally:
        origin.close()
    return Found(done, origin.sent, whole, wrong)


def find_wrong(store: Path, digests: dict[str, str]) -> list[str]:
    """Keys that are visible, and not what they should be."""
    return [
        key
        for file in store.rglob("*.mp4")
        if (key := str(file.relative_to(store)))
        and hashlib.sha256(file.read_bytes()).hexdigest() != digests.get(key)
    ]


def main() -> int:
    """0 if nothing was wrong."""
    reading = argparse.ArgumentParser(description=__doc__)
    reading.add_argument("--kills", type=int, default=100)
    reading.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = reading.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        master = Path(folder, "master")
        sizes = random.Random(given.seed)
        for number in range(60):
            size = sizes.randrange(1, 60 * PIECE)
            write_object(master, f"film/{number}.mp4", blob(size, seed=number))
        found = try_kills(master, Path(folder), given.kills, given.seed, float(given.kills))
    told = {"seed": given.seed, **found._asdict(), "most": found.most}
    print(json.dumps(told, indent=1))
    return 0 if not found.wrong and found.fetched <= found.most else 1


if __name__ == "__main__":
    sys.exit(main())

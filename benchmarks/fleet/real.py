"""Real appliances among the played ones: processes of `ocaserve serve` that hold a film, hear
networks of their own, and report to the same control plane.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

from benchmarks.measure import is_same, process_tree
from benchmarks.processes import ROOT

FILM = "real/film.mp4"
CUSTOMERS = "198.51.100"
"""Of documentation, which no provider of the world has."""
_FILM_BYTES = 48 << 10  # by sendfile: what is smaller is kept in memory
_PEER = "192.0.2.1"
_SETTINGS = """\
[appliance]
id = "{name}"
site = "{site}"
urls = ["http://{address}"]
[serve]
listen = ["{address}"]
workers = 1
access_log = "off"
[control]
listen = ["unix:{folder}/control"]
[bgp]
local_as = 65000
recording = "{folder}/routes.jsonl"
allow_bogons = ["{customers}.0/24"]
[report]
push_url = "http://{fleet}/v1/reports"
interval_s = {interval_s}
[health]
rise_s = 3600                      # the machine may be as busy as it likes
[[store]]
path = "{folder}/disk"
"""


def make_film(folder: Path) -> str:
    """Puts the film there. Returns its digest, in hexadecimal."""
    data = Random(1).randbytes(_FILM_BYTES)  # noqa: S311 - repeatable is what is wanted
    file = folder / FILM
    file.parent.mkdir(parents=True)
    file.write_bytes(data)
    return sha256(data).hexdigest()


class RealAppliance:
    """Its processes can be killed whole, and begin again at the same address. url: of clients."""

    def __init__(
        self, folder: Path, name: str, site: str, port: int, path_length: int, disk: Path,
        fleet: str, interval_s: float,
    ) -> None:  # fmt: skip
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        (folder / "disk").symlink_to(disk)
        (folder / "routes.jsonl").write_text("".join(_record_routes(path_length)))
        (folder / "ocaserve.toml").write_text(_SETTINGS.format(
            name=name, site=site, address=f"127.0.0.1:{port}", folder=folder, customers=CUSTOMERS,
            fleet=fleet, interval_s=interval_s,
        ))  # fmt: skip

    def start(self) -> None:
        with (self._folder / "log").open("ab") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ocaserve", "serve", "--quiet",
                 "-c", str(self._folder / "ocaserve.toml")],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """All its processes at once, as a power cut would."""
        if self._process is None:
            return
        for pid, times in process_tree(self._process.pid).items():
            if is_same(pid, times):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def _record_routes(path_length: int) -> Iterator[str]:
    """Lines of ExaBGP, which the appliance replays. path_length: ASes on the way to customers."""
    about = {
        "address": {"local": "192.0.2.10", "peer": _PEER},
        "asn": {"local": 65_000, "peer": 65_001},
    }
    path = {
        "0": {"element": "as-sequence", "value": [65_001, *range(65_010, 65_009 + path_length)]}
    }
    update = {
        "attribute": {"origin": "igp", "as-path": path},
        "announce": {"ipv4 unicast": {_PEER: [{"nlri": f"{CUSTOMERS}.0/24"}]}},
    }  # fmt: skip
    told = [
        {"type": "state", "neighbor": {**about, "state": "connected"}},
        {"type": "state", "neighbor": {**about, "state": "up"}},
        {"type": "update", "neighbor": {**about, "message": {"update": update}}},
        {"type": "update", "neighbor": {
            **about, "message": {"eor": {"afi": "ipv4", "safi": "unicast"}}}},
    ]  # fmt: skip
    head = {"exabgp": "5.0.0", "time": 1.5e9, "host": "recorded", "pid": 1, "ppid": 1}
    for number, line in enumerate(told, 1):
        yield json.dumps({**head, "counter": number, **line}) + "\n"

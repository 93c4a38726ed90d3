"""What the network is made of: its programs, their settings, and the router."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

ROUTER, ORIGIN = "127.0.0.2", "127.0.0.5"
ROUTER_AS, OUR_AS = 64501, 64500
SITES = {"east": "embedded", "west": "embedded"}
APPLIANCES = {
    "east-1": "127.0.0.11", "east-2": "127.0.0.12",
    "west-1": "127.0.0.21", "west-2": "127.0.0.22",
}  # fmt: skip
# Those of documentation, which no real provider announces: each is one site's customers.
CUSTOMERS = {"east": "198.51.100.0/24", "west": "203.0.113.0/24"}
FILM = "film.mp4"
END_S = 5.0

BIRD = """\
log "{folder}/bird.log" all;
router id 192.0.2.1;
protocol device {{ }}
"""
BIRD_SITE = """\
ipv4 table {site};
protocol static routes_{site} {{ ipv4 {{ table {site}; }}; {routes} }}
"""
BIRD_SESSION = """\
protocol bgp {name} {{
  local {router} port {port} as {router_as};
  neighbor {address} as {our_as};
  multihop; passive yes; strict bind yes; graceful restart on;
  ipv4 {{ table {site}; export all; import none; next hop self; }};
}}
"""
APPLIANCE = """\
[appliance]
id = "{name}"
site = "{site}"
urls = ["http://{address}:{data_port}"]
[serve]
listen = ["{address}:{data_port}"]
workers = 1
access_log = "off"
[control]
listen = ["{address}:{control_port}"]
[report]
push_url = "http://127.0.0.1:{fleet_port}/v1/reports"
interval_s = 1
[fill]
manifest_url = "http://{origin}:{data_port}/manifest.json"
manifest_interval_s = 2
window = ""
plan_s = 2
escalation_s = 2
[health]
rise_s = 3600                      # a laptop may be as busy as it likes
[[store]]
path = "{folder}/disk"
[bgp]
router_id = "192.0.2.{number}"
local_as = {our_as}
allow_bogons = ["198.51.100.0/24", "203.0.113.0/24"]
"""
NEIGHBOR = """\
[[bgp.neighbor]]
address = "{router}"
peer_as = {router_as}
local_address = "{address}"
port = {port}
"""
FLEET = """\
[fleet]
listen = ["127.0.0.1:{fleet_port}"]
clients = ["127.0.0.1:{clients_port}"]
state = "sqlite://{folder}/fleet.db"
report_ttl_s = 3
answer_ttl_s = 10
tokens = {{ operate = ["{token}"] }}
decision_log = "{folder}/decisions.jsonl"
decision_log_share = 1.0
"""
TOKEN = "network-on-this-machine"  # noqa: S105 - on loopback, for as long as it runs


class NetworkError(Exception):
    """What keeps the network from running; the text says it in one line."""


class Ports(NamedTuple):
    """Of the page, the control plane's two addresses, appliances, and the router."""

    page: int
    fleet: int
    clients: int
    data: int
    control: int
    router: int


class Part:
    """A program that can be killed and started again. site: empty where it is at none."""

    def __init__(self, command: Sequence[str], log: Path, site: str = "") -> None:
        self.command, self.log, self.site = command, log, site
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """With a group of processes of its own, so that all of it can be killed."""
        if not self.is_running:
            with self.log.open("ab") as out:
                self._process = subprocess.Popen(  # noqa: S603 - our own commands
                    self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True,
                )  # fmt: skip

    def kill(self) -> None:
        """As a power cut would: nothing of it says good-bye."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def ask_to_end(self) -> None:
        if self._process is not None and self.is_running:
            self._process.terminate()

    def await_end(self) -> None:
        """What does not end is killed, and whoever it left behind."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)
            self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)


class Router:
    """BIRD, which announces to each site what its customers are; or a recording of that."""

    def __init__(self, folder: Path, port: int) -> None:
        self.is_real = shutil.which("bird") is not None
        self.announced = dict.fromkeys(SITES, True)
        self._folder, self._port = folder, port

    def part(self) -> Part | None:
        if not self.is_real:
            return None
        self._write()
        files = {"-c": "bird.conf", "-s": "bird.ctl", "-P": "bird.pid"}
        options = [word for key, name in files.items() for word in (key, f"{self._folder}/{name}")]
        return Part(["bird", "-f", *options], self._folder / "bird.out")

    def neighbor(self, name: str) -> str:
        """What an appliance's settings say of where its routes come from."""
        if self.is_real:
            return NEIGHBOR.format(
                router=ROUTER, router_as=ROUTER_AS, address=APPLIANCES[name], port=self._port
            )
        recording = self._folder / f"{site_of(name)}.jsonl"
        recording.write_text("".join(record_routes(site_of(name))))
        return f'recording = "{recording}"\n'

    def announce(self, site: str, *, is_announced: bool) -> None:
        """Raises NetworkError where there is no router to do it."""
        if not self.is_real:
            raise NetworkError("BIRD is not installed: recorded routes cannot be withdrawn")
        self.announced[site] = is_announced
        self._write()
        command = ["birdc", "-s", str(self._folder / "bird.ctl"), "configure"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise NetworkError(f"the router does not answer: {done.stderr.strip()}")

    def _write(self) -> None:
        text = BIRD.format(folder=self._folder)
        for site in SITES:
            routes = routes_of(site) if self.announced[site] else {}
            told = " ".join(
                f"route {prefix} blackhole {{ {prepend(length)} }};"
                for prefix, length in routes.items()
            )
            text += BIRD_SITE.format(site=site, routes=told)
        for name, address in APPLIANCES.items():
            text += BIRD_SESSION.format(
                name=name.replace("-", "_"), router=ROUTER, port=self._port, router_as=ROUTER_AS,
                address=address, our_as=OUR_AS, site=site_of(name),
            )  # fmt: skip
        (self._folder / "bird.conf").write_text(text)


def site_of(appliance: str) -> str:
    return appliance.partition("-")[0]


def routes_of(site: str) -> Mapping[str, int]:
    """What a site hears, and how many ASes lie behind the router: others' customers are farther."""
    return {prefix: 0 if site == own else 2 for own, prefix in CUSTOMERS.items()}


def prepend(length: int) -> str:
    return " ".join(f"bgp_path.prepend({64510 + n});" for n in range(length))


def record_routes(site: str) -> list[str]:
    """The same as lines of ExaBGP, which the appliance replays."""
    peer = {"local": "127.0.0.1", "peer": ROUTER}
    asn = {"local": OUR_AS, "peer": ROUTER_AS}
    about = {"address": peer, "asn": asn}
    lines: list[dict[str, Any]] = [
        {"type": "state", "neighbor": {**about, "state": state}} for state in ("connected", "up")
    ]
    for prefix, length in routes_of(site).items():
        path = [ROUTER_AS, *range(64510, 64510 + length)]
        attributes = {"origin": "igp", "as-path": {"0": {"element": "as-sequence", "value": path}}}
        announced = {"ipv4 unicast": {ROUTER: [{"nlri": prefix}]}}
        update = {"attribute": attributes, "announce": announced}
        lines.append({"type": "update", "neighbor": {**about, "message": {"update": update}}})
    end = {"eor": {"afi": "ipv4", "safi": "unicast"}}
    lines.append({"type": "update", "neighbor": {**about, "message": end}})
    head = {"exabgp": "5.0.0", "time": 1.5e9, "host": "recorded", "pid": 1, "ppid": 1}
    return [
        json.dumps({**head, "counter": number, **line}) + "\n"
        for number, line in enumerate(lines, 1)
    ]


def make_parts(folder: Path, ports: Ports, router: Router) -> dict[str, Part]:
    """By name, in the order in which they begin; their settings are written. folder: has `origin`,
    with the film and its manifest.
    """
    program = [sys.executable, "-m", "ocaserve"]
    origin = [*program, "serve", str(folder / "origin"), "--quiet", "--workers", "1"]
    origin += ["--listen", f"{ORIGIN}:{ports.data}", "--control", f"{ORIGIN}:{ports.control}"]
    parts = {"origin": Part(origin, folder / "origin.log")}
    fleet = folder / "fleet.toml"
    fleet.write_text(
        FLEET.format(folder=folder, fleet_port=ports.fleet, clients_port=ports.clients, token=TOKEN)
    )
    parts["fleet"] = Part([*program, "fleet", "serve", "-c", str(fleet)], folder / "fleet.log")
    if (bird := router.part()) is not None:
        parts["router"] = bird
    for number, (name, address) in enumerate(APPLIANCES.items(), 10):
        own = folder / name
        (own / "disk").mkdir(parents=True)
        text = APPLIANCE.format(
            name=name, site=site_of(name), address=address, folder=own, number=number,
            data_port=ports.data, control_port=ports.control, fleet_port=ports.fleet,
            origin=ORIGIN, our_as=OUR_AS,
        )  # fmt: skip
        (own / "ocaserve.toml").write_text(text + router.neighbor(name) + peers_of(name, ports))
        command = [*program, "serve", "--quiet", "-c", str(own / "ocaserve.toml")]
        parts[name] = Part(command, folder / f"{name}.log", site_of(name))
    return parts


def peers_of(name: str, ports: Ports) -> str:
    """The others of its site, which are asked for content before the origin."""
    return "".join(
        f'[[fill.peer]]\nid = "{other}"\nurl = "http://{address}:{ports.data}"\n'
        for other, address in APPLIANCES.items()
        if other != name and site_of(other) == site_of(name)
    )

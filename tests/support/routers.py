"""Routers as providers have them: real programs on loopback addresses.

A router announces what a test tells it to. It takes nothing from us, and needs no root: ports are
above 1023, addresses are in 127/8 or are not looked at. Each test run has addresses of its own.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tests.support.waiting import eventually

FRR_BGPD = "/usr/lib/frr/bgpd"  # where Debian has it, outside of every PATH
_V6_WITHOUT_ZEBRA = "--v6-with-v4-nexthop"
PORT = 1790
_ANSWER_S = 20
_STOP_S = 10


def loopback() -> str:
    """An address of 127/8 that nobody else is likely to use."""
    return f"127.{random.randint(16, 254)}.{random.randint(1, 254)}.{random.randint(2, 254)}"


class Router(Protocol):
    """What a test may have a router do. Prefixes are of IPv4 or IPv6."""

    address: str
    peer_as: int

    def running(self) -> AbstractContextManager[Router]: ...
    def announce(self, prefix: str, med: int = 0) -> None: ...
    def withdraw(self, prefix: str) -> None: ...
    def close_session(self) -> None: ...
    def open_session(self) -> None: ...


def run(*words: str) -> str:
    """Run a command of a router; returns what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def start(folder: Path, name: str, words: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a router's program, which writes its log into the folder."""
    with (folder / f"{name}.log").open("ab") as log:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end; make it, if it does not."""
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def program(folder: Path, name: str, words: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a router's program until the block ends."""
    process = start(folder, name, words)
    try:
        yield process
    finally:
        stop(process)


# -- BIRD ----------------------------------------------------------------------------------------

_BIRD = """\
log stderr all;
router id 10.0.0.1;
protocol device {{ }}
protocol static routes4 {{ ipv4; {ipv4} }}
protocol static routes6 {{ ipv6; {ipv6} }}
{sessions}
"""
_BIRD_SESSION = """\
protocol bgp to_{name} {{
  local {address} port {port} as {peer_as};
  neighbor {peer} {peer_port} as 65000;
  {how}
  strict bind yes; connect delay time 1; connect retry time 1; error wait time 1, 2;
  graceful restart on;
  ipv4 {{ {ipv4} export all; import none; next hop self; }};
  ipv6 {{ export all; import none; next hop address 2001:db8::10; }};
}}
"""


@dataclass(frozen=True)
class BirdSession:
    """One protocol of BIRD's, on an address of its own. `how`: statements such as its password."""

    peer: str
    address: str = field(default_factory=loopback)
    how: str = "multihop; passive yes;"
    ipv4: str = ""
    port: int = PORT
    peer_port: str = ""  # "port 1790": then BIRD connects

    def render(self, name: str) -> str:
        return _BIRD_SESSION.format(
            name=name,
            address=self.address,
            port=self.port,
            peer_as=Bird.peer_as,
            peer=self.peer,
            peer_port=self.peer_port,
            how=self.how,
            ipv4=self.ipv4,
        )


_SAME_S = 0.5


def _seconds(clock: str) -> float:
    """Of "23:59:59.123"."""
    hours, minutes, seconds = clock.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


class Bird:
    """BIRD 2 with some sessions, which all get the same routes; the first is the one to close."""

    peer_as = 65001

    def __init__(self, folder: Path, sessions: Mapping[str, BirdSession]) -> None:
        self.sessions = dict(sessions)
        self.main, first = next(iter(sessions.items()))
        self.address = first.address
        self._folder = folder
        self._routes: dict[str, str] = {}  # attributes by prefix
        self._since: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._write()

    @contextmanager
    def running(self) -> Iterator[Bird]:
        self.start()
        try:
            yield self
        finally:
            assert self.process is not None
            stop(self.process)

    def start(self) -> None:
        """For the first time, or after `kill`."""
        words = ["bird", "-f", "-c", str(self._folder / "bird.conf"), "-s", self._control]
        self.process = start(self._folder, "bird", [*words, "-P", str(self._folder / "pid")])
        eventually(self._answers, "BIRD answers")

    def kill(self) -> None:
        """Without a word to its neighbors."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    @property
    def _control(self) -> str:
        return str(self._folder / "ctl")

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "bird.log").read_text()
        words = ["birdc", "-s", self._control, "show", "status"]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def tell(self, *words: str) -> str:
        return run("birdc", "-s", self._control, *words)

    def since(self, name: str) -> str | None:
        """When the session of this name came up; None while it is not.

        BIRD reckons it anew from its age each time, so that its last digit changes: what is within
        half a second of the last answer is the same.
        """
        row = self.tell("show", "protocols", f"to_{name}").splitlines()[-1].split()
        if row[-1] != "Established":
            return None
        known = self._since.get(name)
        if known is None or abs(_seconds(row[4]) - _seconds(known)) > _SAME_S:
            known = self._since[name] = row[4]
        return known

    def _write(self) -> None:
        rows = {4: "", 6: ""}
        for prefix, attributes in self._routes.items():
            rows[6 if ":" in prefix else 4] += f"route {prefix} blackhole {attributes};\n"
        sessions = "".join(session.render(name) for name, session in self.sessions.items())
        text = _BIRD.format(ipv4=rows[4], ipv6=rows[6], sessions=sessions)
        (self._folder / "bird.conf").write_text(text)

    def set_routes(self, routes: Mapping[str, str]) -> None:
        """Announce these and nothing else, with attributes in BIRD's words ("{ bgp_med = 5; }")."""
        self._routes = dict(routes)
        self._write()
        if self.process is not None:
            self.tell("configure")

    def announce(self, prefix: str, med: int = 0) -> None:
        self.set_routes({**self._routes, prefix: f"{{ bgp_med = {med}; }}" if med else ""})

    def withdraw(self, prefix: str) -> None:
        self.set_routes({p: a for p, a in self._routes.items() if p != prefix})

    def close_session(self) -> None:
        self.tell("disable", f"to_{self.main}")

    def open_session(self) -> None:
        self.tell("enable", f"to_{self.main}")


# -- FRR -----------------------------------------------------------------------------------------

_FRR = """\
log stdout
bgp route-map delay-timer 0
router bgp {peer_as}
 bgp router-id 10.0.0.30
 no bgp ebgp-requires-policy
 no bgp network import-check
 no bgp default ipv4-unicast
 bgp graceful-restart
 neighbor {peer} remote-as 65000
 neighbor {peer} passive
 neighbor {peer} ebgp-multihop
 neighbor {peer} update-source {address}
 neighbor {peer} advertisement-interval 0
 address-family ipv4 unicast
  neighbor {peer} activate
 exit-address-family
 address-family ipv6 unicast
  neighbor {peer} activate
  neighbor {peer} route-map out out
 exit-address-family
route-map out permit 10
 set ipv6 next-hop global 2001:db8::30
"""


class Frr:
    """FRR's bgpd, without zebra."""

    peer_as = 65030

    def __init__(self, folder: Path, peer: str) -> None:
        self.address = loopback()
        self.peer = peer
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator[Frr]:
        config = self._folder / "bgpd.conf"
        config.write_text(_FRR.format(peer_as=self.peer_as, peer=self.peer, address=self.address))
        words = [FRR_BGPD, "-f", str(config), "-i", str(self._folder / "pid"), "-n", "-Z", "-S"]
        words += ["--vty_socket", str(self._folder), "-P", "0", "-l", self.address, "-p", str(PORT)]
        # FRR 10 knows this option, and without it refuses IPv6 over a session whose interface zebra
        # has not told it of; FRR 8 neither knows nor needs it.
        words += [_V6_WITHOUT_ZEBRA] if _V6_WITHOUT_ZEBRA in run(FRR_BGPD, "--help") else []
        with program(self._folder, "frr", words):
            eventually((self._folder / "bgpd.vty").exists, "FRR answers")
            yield self

    def _tell(self, *commands: str) -> None:
        words = [word for command in commands for word in ("-c", command)]
        run("vtysh", "--vty_socket", str(self._folder), *words)

    def _configure(self, prefix: str, command: str, *before: str) -> None:
        family = "ipv6" if ":" in prefix else "ipv4"
        router = (f"router bgp {self.peer_as}", f"address-family {family} unicast")
        self._tell("configure terminal", *before, *router, command)

    def announce(self, prefix: str, med: int = 0) -> None:
        mapping = (f"route-map med{med} permit 10", f"set metric {med}", "exit")
        self._configure(prefix, f"network {prefix} route-map med{med}", *mapping)

    def withdraw(self, prefix: str) -> None:
        self._configure(prefix, f"no network {prefix}")

    def close_session(self) -> None:
        self._neighbor("shutdown")

    def open_session(self) -> None:
        self._neighbor("no")

    def _neighbor(self, how: str) -> None:
        words = f"neighbor {self.peer} shutdown"
        command = f"no {words}" if how == "no" else words
        self._tell("configure terminal", f"router bgp {self.peer_as}", command)


# -- GoBGP ---------------------------------------------------------------------------------------

_GOBGP = """\
[global.config]
as = {peer_as}
router-id = "10.0.0.40"
port = {port}
local-address-list = ["{address}"]
[[neighbors]]
[neighbors.config]
neighbor-address = "{peer}"
peer-as = 65000
[neighbors.transport.config]
passive-mode = true
local-address = "{address}"
[neighbors.ebgp-multihop.config]
enabled = true
multihop-ttl = 10
[neighbors.graceful-restart.config]
enabled = true
restart-time = 120
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv4-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = "ipv6-unicast"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true
"""
_GOBGP_API_PORT = 50051


class GoBgp:
    """GoBGP, which knows no enhanced route refresh."""

    peer_as = 65040

    def __init__(self, folder: Path, peer: str) -> None:
        self.address = loopback()
        self.peer = peer
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator[GoBgp]:
        config = self._folder / "gobgp.toml"
        config.write_text(
            _GOBGP.format(peer_as=self.peer_as, peer=self.peer, address=self.address, port=PORT)
        )
        api = f"{self.address}:{_GOBGP_API_PORT}"
        words = ["gobgpd", "-f", str(config), "--api-hosts", api, "--pprof-disable"]
        with program(self._folder, "gobgp", words):
            eventually(self._answers, "GoBGP answers")
            yield self

    def _answers(self) -> bool:
        words = [*self._client, "neighbor", self.peer]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    @property
    def _client(self) -> list[str]:
        return ["gobgp", "-u", self.address, "-p", str(_GOBGP_API_PORT)]

    def _tell(self, *words: str) -> None:
        run(*self._client, *words)

    def announce(self, prefix: str, med: int = 0) -> None:
        self._tell("global", "rib", "add", *self._route(prefix), "med", str(med))

    def withdraw(self, prefix: str) -> None:
        self._tell("global", "rib", "del", *self._route(prefix))

    def _route(self, prefix: str) -> list[str]:
        if ":" in prefix:
            return ["-a", "ipv6", prefix, "nexthop", "2001:db8::40"]
        return ["-a", "ipv4", prefix, "nexthop", self.address]

    def close_session(self) -> None:
        self._tell("neighbor", self.peer, "disable")

    def open_session(self) -> None:
        self._tell("neighbor", self.peer, "enable")

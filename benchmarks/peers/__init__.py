"""The servers that are compared: what each is, how it is configured and started.

Each gets one worker, an access log on disk, and the same store. Commands and templates know
`$folder` (its own), `$store`, `$port`, `$control_port`, `$python`, `$range_bytes`
(of the scenario).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

_HERE = Path(__file__).parent
_CONTROL_PLACE = 9


@dataclass(frozen=True)
class Peer:
    """A server. `place`: added to the base port. `fixed`: values for its template."""

    name: str
    title: str
    place: int
    command: tuple[str, ...]
    template: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    has_control: bool = False

    def ports(self, base: int) -> tuple[int, ...]:
        """What it listens on: first for clients, then for its control, if it has any."""
        control = (base + _CONTROL_PLACE,) if self.has_control else ()
        return base + self.place, *control

    def configuration(self, values: Mapping[str, str]) -> str | None:
        """The text of its configuration file; None if it has none."""
        if self.template is None:
            return None
        text = (_HERE / f"{self.template}.template").read_text()
        return Template(text).substitute(values, **self.fixed)

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command line that starts it."""
        return [Template(word).substitute(values) for word in self.command]


_NGINX = ("nginx", "-e", "$folder/error.log", "-p", "$folder", "-c", "nginx.conf")

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "ocaserve", "this server", 0,
            ("$python", "-m", "ocaserve", "serve", "-c", "$folder/ocaserve.toml"),
            template="ocaserve.toml",
            modules=("ocaserve", "uvloop"),
            has_control=True,
        ),
        Peer(
            "nginx", "nginx, sendfile", 1, _NGINX,
            template="nginx.conf", fixed={"aio": "off"}, programs=("nginx",),
        ),
        Peer(
            "nginx-aio", "nginx, sendfile in threads (`aio threads`)", 2, _NGINX,
            template="nginx.conf", fixed={"aio": "threads"}, programs=("nginx",),
        ),
        Peer(
            "bare", "the limit: sendfile on uvloop, no HTTP, no log", 3,
            ("$python", "-m", "benchmarks.peers.bare_sendfile", "$port", "$store", "$range_bytes"),
            modules=("uvloop",),
        ),
        Peer(
            "aiohttp", "aiohttp FileResponse on uvloop", 4,
            ("$python", "-m", "benchmarks.peers.aiohttp_files", "$port", "$store",
             "$folder/access.log"),
            modules=("aiohttp", "uvloop"),
        ),
    )
}  # fmt: skip


def commands_of(peers: Iterable[Peer]) -> dict[str, str]:
    """The command lines by server, with the names that stand for paths and ports."""
    return {peer.name: " ".join(peer.command) for peer in peers}

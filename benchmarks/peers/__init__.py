"""The servers that are compared: what each is, how it is configured and started.

Each gets one worker, an access log on disk, and the same store. Commands and templates know
`$folder` (its own), `$store`, `$port`, `$control_port`, `$python`, `$range_bytes`
(of the scenario); where TLS is spoken, `$tls_port`, `$certificate` and `$key` too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

_HERE = Path(__file__).parent
_TLS_PLACE = 5  # behind the places of all servers; only the first two speak TLS


@dataclass(frozen=True)
class Peer:
    """A server. `place`: added to the base port. `fixed`: values for its template.

    tls: the template of what its configuration says of TLS, where a scenario is over TLS.
    reply_bytes: of what it answers to everything, with 200; None: it has the store, and answers
    ranges of it with 206. control_place: as `place`, of its control process.
    """

    name: str
    title: str
    place: int
    command: tuple[str, ...]
    template: str | None = None
    tls: str | None = None
    fixed: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    control_place: int | None = None
    reply_bytes: int | None = None

    def ports(self, base: int) -> dict[str, int]:
        """What it listens on, by the names that templates know."""
        ports = {"port": base + self.place}
        if self.tls is not None:
            ports["tls_port"] = base + _TLS_PLACE + self.place
        if self.control_place is not None:
            ports["control_port"] = base + self.control_place
        return ports

    def configuration(self, values: Mapping[str, str], *, is_tls: bool = False) -> str | None:
        """The text of its configuration file; None if it has none."""
        if self.template is None:
            return None
        tls = _fill(self.tls, values) if is_tls and self.tls is not None else ""
        return _fill(self.template, {**values, **self.fixed, "tls": tls})

    def arguments(self, values: Mapping[str, str]) -> list[str]:
        """The command line that starts it."""
        return [Template(word).substitute(values) for word in self.command]


def _fill(template: str, values: Mapping[str, str]) -> str:
    text = (_HERE / f"{template}.template").read_text()
    return Template(text).substitute(values)


_NGINX = ("nginx", "-e", "$folder/error.log", "-p", "$folder", "-c", "nginx.conf")

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "ocaserve", "this server", 0,
            ("$python", "-m", "ocaserve", "serve", "-c", "$folder/ocaserve.toml"),
            template="ocaserve.toml", tls="ocaserve.tls",
            modules=("ocaserve", "uvloop"),
            control_place=9,
        ),
        Peer(
            "nginx", "nginx, sendfile", 1, _NGINX,
            template="nginx.conf", tls="nginx.tls", fixed={"aio": "off"}, programs=("nginx",),
        ),
        Peer(
            "nginx-aio", "nginx, sendfile in threads (`aio threads`)", 2, _NGINX,
            template="nginx.conf", fixed={"aio": "threads"}, programs=("nginx",),
        ),
        Peer(
            "replies", "this server, with an answerer that makes 500 bytes of JSON", 7,
            ("$python", "-m", "benchmarks.peers.small_replies", "$folder/ocaserve.toml"),
            template="ocaserve.toml",
            modules=("ocaserve", "uvloop"),
            control_place=8,
            reply_bytes=500,
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

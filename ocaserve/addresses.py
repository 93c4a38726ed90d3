"""Addresses as they stand in settings: "127.0.0.1:8080", "[::]:80", "unix:/run/x.sock"."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass

_MOST_PATH_BYTES = 103  # sun_path is 104 bytes on FreeBSD, 108 on Linux, with its closing zero


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. `path` is empty for TCP; host and port mean nothing for a local socket."""

    host: str = ""
    port: int = -1
    path: str = ""

    @property
    def family(self) -> socket.AddressFamily:
        if self.path:
            return socket.AF_UNIX
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def name(self) -> str | tuple[str, int]:
        """As bind() takes it."""
        return self.path or (self.host, self.port)

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches it."""
        return bool(self.path) or ipaddress.ip_address(self.host).is_loopback

    @property
    def url(self) -> str:
        """As a person would open it."""
        return str(self) if self.path else f"http://{self}"

    def overlaps(self, other: Address) -> bool:
        """Whether the kernel would take both for one: equal, or one is for every host."""
        if self.path or other.path:
            return os.path.normpath(self.path or "/") == os.path.normpath(other.path or "/")
        hosts = {self.host, other.host}
        return (
            self.family == other.family
            and self.port == other.port != 0
            and (len(hosts) == 1 or bool(hosts & {"0.0.0.0", "::"}))  # noqa: S104 - not bound here
        )

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """Raises ValueError, which says what is allowed."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/") or len(os.fsencode(path)) > _MOST_PATH_BYTES:
            raise ValueError(f"the path must be absolute, of at most {_MOST_PATH_BYTES} bytes")
        return Address(path=path)
    host, colon, port = text.rpartition(":")
    try:
        is_six = host.startswith("[") and host.endswith("]")
        parsed = ipaddress.IPv6Address(host[1:-1]) if is_six else ipaddress.IPv4Address(host)
    except ValueError:
        parsed = None
    if parsed is None or not _can_be_bound(parsed):
        raise ValueError('must be "IPv4:port", "[IPv6]:port" (without a zone) or "unix:/path"')
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ValueError("the port must be a number from 0 to 65535")
    return Address(str(parsed), int(port))


def _can_be_bound(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """A zone is lost where an address is compared; an IPv4 address is written as one."""
    return address.version == 4 or not (address.scope_id or address.ipv4_mapped)


def bound_address(sock: socket.socket) -> Address:
    """The address that a listening socket has."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return Address(path=name)
    return Address(name[0], name[1])

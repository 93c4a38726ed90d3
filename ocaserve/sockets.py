"""Listening sockets: bound once by the supervisor, inherited by every worker and by a new version.

For each TCP address there is one socket for each worker (SO_REUSEPORT), because the kernel then
spreads connections evenly; workers that share a socket get bursts of them (measured with 4 workers
and 64 connections: 11 to 23 each, against 1 to 39). A connection waits in the queue of its socket,
so a socket must always have a worker: see `share_out` in the supervisor.

Options are set on the listening socket, once: Linux and FreeBSD copy them to what it accepts.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Collection, Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ocaserve.addresses import Address, bound_address, parse_address
from ocaserve.errors import ListenError
from ocaserve.local_sockets import FileId, LocalListener, adopt_local_listener, listen_on_path
from ocaserve.settings import Serve

BACKLOG = 4_096  # the kernel cuts it to net.core.somaxconn, which is 4096 too on Linux
_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_PASSED_ON = "OCASERVE_LISTEN"  # to a new version, as JSON
_SO_REUSEPORT_LB = 0x00010000  # sys/socket.h, FreeBSD 12; in the socket module since Python 3.14
_TCP_USER_TIMEOUT = 18  # linux/tcp.h
_TCP_NOTSENT_LOWAT = 25
_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h; bytes/s
_UNPACED = 2**64 - 1  # ~0ul: no limit

_SERVICE_SOCKET_MASK = 0o117  # a file with access for its user and its group only

Listeners = dict[Address, list[socket.socket]]


def bind_address(
    address: Address, count: int, ours: Collection[Address] = ()
) -> list[socket.socket]:
    """`count` listening sockets on a TCP address, or one on a path. Raises ListenError.

    ours: addresses that we listen on, which may be wider or narrower ones of the same port.
    """
    sockets: list[socket.socket] = []
    try:
        if address.path:
            return [listen_on_path(address.path, BACKLOG)]
        if not any(address.overlaps(known) for known in ours):
            probe_port(address)
        for _ in range(count):
            sockets.append(_bind_tcp(bound_address(sockets[0]) if sockets else address))
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return sockets


def _bind_tcp(address: Address) -> socket.socket:
    # The protocol is named, because asyncio sets TCP_NODELAY only on sockets that name it.
    sock = socket.socket(address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reuse = _SO_REUSEPORT_LB if sys.platform.startswith("freebsd") else socket.SO_REUSEPORT
        sock.setsockopt(socket.SOL_SOCKET, reuse, 1)
        _keep_to_its_family(sock)
        sock.bind(address.name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def probe_port(address: Address) -> None:
    """Raise OSError if an address cannot be had, as when another program has it.

    With SO_REUSEPORT a second appliance of the same user could join the first one's port and take
    half of its clients. So the port is tried without it once, before the sockets are bound; but not
    where a part of it is ours, which keeps others from it already.
    """
    with socket.socket(address.family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _keep_to_its_family(probe)
        probe.bind(address.name)


def _keep_to_its_family(sock: socket.socket) -> None:
    """[::] is for IPv6 alone, on every system; IPv4 has its own line in the settings."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def set_options(sock: socket.socket, serve: Serve) -> None:
    """What every accepted connection shall have.

    All are set each time, also those at 0: a reload may have turned them off.
    """
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not sys.platform.startswith("linux"):
        return
    limits = serve.limits
    # No time-out of the kernel's: it would reset clients with small windows that read steadily (see
    # `bound_patience` in `serving.sending`). Who takes nothing is ended by our own deadlines.
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, 0)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, serve.notsent_lowat_bytes)
    rate = limits.pace_bits_per_s // 8 or _UNPACED
    sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, struct.pack("Q", rate))


# -- sockets from others -------------------------------------------------------------------------


@dataclass(frozen=True)
class Passed:
    """Sockets that were there before us. Those `lent` are the service manager's to close.

    is_takeover: they are of a version that still serves, and ends when this one is ready.
    """

    listeners: Listeners
    lent: frozenset[Address]
    is_takeover: bool = False


def take_passed(environment: MutableMapping[str, str]) -> Passed:
    """Sockets from the service manager (sd_listen_fds(3)) or from the version before this one.

    The variables are removed, so that no child takes them for its own. Raises ListenError for a
    descriptor that is no listening socket, naming it.
    """
    is_takeover = _PASSED_ON in environment
    try:
        before = msgspec.json.decode(environment.pop(_PASSED_ON, "{}"), type=_Told)
        known = frozenset(parse_address(text) for text in before.lent)
    except (msgspec.DecodeError, ValueError) as error:
        raise ListenError(f"{_PASSED_ON}: {error}") from error
    listeners = _adopt(before.sockets, before.files)
    lent = _adopt(_take_lent(environment), {})
    return Passed({**listeners, **lent}, known | lent.keys(), is_takeover)


class _Told(msgspec.Struct):
    """What one version tells the next: descriptors, addresses that are the service manager's, and
    which file a local socket has.
    """

    sockets: list[int] = []
    lent: list[str] = []
    files: dict[str, FileId] = {}


def _take_lent(environment: MutableMapping[str, str]) -> range:
    count = environment.pop("LISTEN_FDS", "")
    process = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if process != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return range(0)
    return range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + int(count))


def _adopt(descriptors: Iterable[int], files: Mapping[str, FileId]) -> Listeners:
    adopted: Listeners = {}
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
            address = _check_passed(sock)
        except (OSError, OverflowError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ListenError(f"passed descriptor {descriptor}: {why}") from error
        sock.set_inheritable(False)
        if address.path:
            sock = adopt_local_listener(sock, files.get(address.path))
        adopted.setdefault(address, []).append(sock)
    return adopted


def _check_passed(sock: socket.socket) -> Address:
    """The address of one that we can serve on. Raises ValueError, or OSError."""
    is_stream = sock.type == socket.SOCK_STREAM
    if not is_stream or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.close()
        raise ValueError("must be a listening socket")
    if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        sock.close()
        raise ValueError("must be of IPv4, IPv6 or on a path")
    if sock.family == socket.AF_UNIX and not isinstance(sock.getsockname(), str):
        sock.close()
        raise ValueError("must have a path")
    return bound_address(sock)


def pass_on(listeners: Listeners, lent: Collection[Address]) -> tuple[dict[str, str], list[int]]:
    """The variable that tells a new version of these sockets, and the descriptors to leave open."""
    descriptors = [sock.fileno() for sockets in listeners.values() for sock in sockets]
    files = {
        address.path: sock.file_id
        for address, sockets in listeners.items()
        for sock in sockets
        if isinstance(sock, LocalListener) and sock.file_id is not None
    }
    told = _Told(descriptors, [str(address) for address in lent], files)
    return {_PASSED_ON: msgspec.json.encode(told).decode()}, descriptors


# -- opening and closing -------------------------------------------------------------------------


class OpenedSocket(NamedTuple):
    """missing: addresses as they stand in the settings that could not be had, and why not."""

    listeners: Listeners
    missing: Mapping[str, str]


def open_listeners(
    serve: Serve, workers: int, present: Listeners, tls_listen: Sequence[str] = ()
) -> OpenedSocket:
    """The listeners that the settings ask for: those of `present` that fit, the others bound now.

    They come in the order of the settings, those for TLS last: see `tls_positions`.
    """
    opened = _open_each((*serve.listen, *tls_listen), workers, present)
    for sockets in opened.listeners.values():
        for sock in sockets:
            set_options(sock, serve)
    return opened


def open_service_listeners(addresses: Sequence[str], present: Listeners) -> OpenedSocket:
    """The listeners of a process beside the workers, one socket each, as `open_listeners`.

    Who may not read a local socket's file may not connect: others get no access to it.
    """
    mask = os.umask(_SERVICE_SOCKET_MASK)
    try:
        return _open_each(addresses, 1, present)
    finally:
        os.umask(mask)


def _open_each(addresses: Iterable[str], count: int, present: Listeners) -> OpenedSocket:
    wanted: Listeners = {}
    missing: dict[str, str] = {}
    for text in addresses:
        # In order: of several that were made from port 0 the first listed was ours before.
        free = [known for known in present if known not in wanted]
        address = _find_present(parse_address(text), free)
        try:
            sockets = present.get(address) or bind_address(address, count, present)
        except ListenError as error:
            missing[text] = str(error)
            continue
        wanted[bound_address(sockets[0])] = sockets
    return OpenedSocket(wanted, missing)


def tls_positions(listeners: Sequence[socket.socket], serve: Serve) -> frozenset[int]:
    """Which sockets of all of `open_listeners`, in one list, are for TLS."""
    addresses = [bound_address(listener) for listener in listeners]
    plain = list(dict.fromkeys(addresses))[: len(serve.listen)]
    return frozenset(n for n, address in enumerate(addresses) if address not in plain)


def _find_present(address: Address, present: Iterable[Address]) -> Address:
    """The address, or for port 0 the one that it became before: a reload is to keep it."""
    if address.path or address.port:
        return address
    return next((known for known in present if known.host == address.host), address)


def let_go_of_listeners(listeners: Listeners) -> None:
    """Close our descriptors of these sockets; whoever else holds them goes on.

    The kernel refuses connections when the last holder has closed, and workers do when they drain.
    Shutting down would refuse them at once, but fail a worker that is accepting right now.
    """
    for sockets in listeners.values():
        for sock in sockets:
            sock.close()


def close_listeners(listeners: Listeners, besides: Collection[Address]) -> None:
    """Give up these addresses, but for those `besides`; files of local sockets if they are ours."""
    given_up = {address: listeners[address] for address in listeners.keys() - set(besides)}
    for sockets in given_up.values():
        for sock in sockets:
            if isinstance(sock, LocalListener):
                sock.remove_file()
    let_go_of_listeners(given_up)

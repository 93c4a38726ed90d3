"""Listening sockets: bound once by the supervisor, inherited by every worker and by a new version.

For each TCP address there is one socket for each worker (SO_REUSEPORT), because the kernel then
spreads connections evenly; workers that share a socket get bursts of them (measured with 4 workers
and 64 connections: 11 to 23 each, against 1 to 39). A connection waits in the queue of its socket,
so a socket must always have a worker: see `share_out` in the supervisor.

Options are set on the listening socket, once: Linux and FreeBSD copy them to what it accepts.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Mapping, MutableMapping, Sequence

from ocaserve.addresses import Address, bound_address, parse_address
from ocaserve.errors import ListenError
from ocaserve.settings import Serve

BACKLOG = 4_096  # the kernel cuts it to net.core.somaxconn, which is 4096 too on Linux
_FIRST_PASSED_FD = 3  # sd_listen_fds(3)
_PASSED_ON = "OCASERVE_LISTEN"  # to a new version: address -> descriptors, as JSON
_SO_REUSEPORT_LB = 0x00010000  # sys/socket.h, FreeBSD 12; in the socket module since Python 3.14
_TCP_USER_TIMEOUT = 18  # linux/tcp.h
_TCP_NOTSENT_LOWAT = 25
_SO_MAX_PACING_RATE = 47  # asm-generic/socket.h

Listeners = dict[Address, list[socket.socket]]


def bind_address(address: Address, count: int) -> list[socket.socket]:
    """Up to `count` listening sockets on one address. Raises ListenError."""
    if address.path:
        return [_bind_path(address)]
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            sockets.append(_bind_tcp(address))
            if not address.port:  # a free port was taken: the others join it
                address = bound_address(sockets[0])
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
        if address.family == socket.AF_INET6:  # [::] is for IPv6 alone; IPv4 has its own line
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address.name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_path(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address.path).st_mode) and not _answers(address):
                os.unlink(address.path)  # left behind by a process that was killed
        sock.bind(address.path)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    return sock


def _answers(address: Address) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(address.path) == 0


def refuse_busy_port(address: Address) -> None:
    """Raise ListenError if another program has the address.

    With SO_REUSEPORT a second appliance of the same user could join the first one's port and take
    half of its clients. So the port is tried without it once, before the sockets are bound.
    """
    if address.path or not address.port:
        return
    with socket.socket(address.family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(address.name)
        except OSError as error:
            raise ListenError(f"cannot listen on {address}: {error.strerror}") from error


def set_options(sock: socket.socket, serve: Serve) -> None:
    """What every accepted connection shall have."""
    if sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not sys.platform.startswith("linux"):
        return
    limits = serve.limits
    # A peer that is gone, or that keeps its window shut, costs the kernel no more than it does us.
    stall_ms = int(limits.stall_s * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, stall_ms)
    if serve.notsent_lowat_bytes:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, serve.notsent_lowat_bytes)
    if limits.pace_bits_per_s:
        rate = struct.pack("Q", limits.pace_bits_per_s // 8)
        sock.setsockopt(socket.SOL_SOCKET, _SO_MAX_PACING_RATE, rate)


# -- sockets from others -------------------------------------------------------------------------


def take_passed(environment: MutableMapping[str, str]) -> Listeners:
    """Sockets from the service manager (sd_listen_fds(3)) or from the version before this one.

    The variables are removed, so that no child takes them for its own.
    """
    passed: Listeners = {}
    for numbers in json.loads(environment.pop(_PASSED_ON, "{}")).values():
        for number in numbers:
            _adopt(passed, number)
    count = environment.pop("LISTEN_FDS", "")
    process = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if process == str(os.getpid()) and count.isdigit():
        for number in range(_FIRST_PASSED_FD, _FIRST_PASSED_FD + int(count)):
            _adopt(passed, number)
    return passed


def _adopt(passed: Listeners, number: int) -> None:
    sock = socket.socket(fileno=number)
    sock.set_inheritable(False)
    passed.setdefault(bound_address(sock), []).append(sock)


def pass_on(
    listeners: Mapping[Address, Sequence[socket.socket]],
) -> tuple[dict[str, str], list[int]]:
    """The variable that tells a new version of these sockets, and the descriptors to leave open."""
    numbers = {
        str(address): [sock.fileno() for sock in sockets] for address, sockets in listeners.items()
    }
    return {_PASSED_ON: json.dumps(numbers)}, [n for group in numbers.values() for n in group]


def open_listeners(serve: Serve, workers: int, present: Listeners) -> Listeners:
    """The listeners that the settings ask for: those of `present` that fit, the others bound now.

    Raises ListenError, having closed what it had bound.
    """
    wanted: Listeners = {}
    bound: list[socket.socket] = []
    try:
        for text in serve.listen:
            address = _find_present(parse_address(text), present)
            sockets = present.get(address)
            if sockets is None:
                refuse_busy_port(address)
                sockets = bind_address(address, workers)
                bound += sockets
                address = bound_address(sockets[0])
            wanted[address] = sockets
    except ListenError:
        for sock in bound:
            sock.close()
        raise
    for sockets in wanted.values():
        for sock in sockets:
            set_options(sock, serve)
    return wanted


def _find_present(address: Address, present: Listeners) -> Address:
    """A port that was chosen freely before stays the same."""
    if address.path or address.port:
        return address
    return next((known for known in present if known.host == address.host), address)

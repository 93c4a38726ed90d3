"""Addresses to listen on: whether they can be bound now. A running appliance is not disturbed.

Only `check` asks; `serve` finds out by binding them.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

from ocaserve.addresses import Address, parse_address
from ocaserve.findings import Finding, Severity
from ocaserve.local_sockets import is_answered
from ocaserve.settings import Settings
from ocaserve.sockets import probe_port

_FIRST_FREE_PORT = 1024


def address_look(*, may_use_low_ports: bool = False) -> Callable[[Settings], Iterator[Finding]]:
    """A look at all addresses, for an account that may or may not be given ports below 1024.

    Who listens where is found out now: the look may be that of a user who cannot see it.
    """
    listeners = _find_listeners()

    def look(settings: Settings) -> Iterator[Finding]:
        owner = SocketOwner(settings.file, listeners)
        listen = {"serve": settings.serve.listen, "tls": settings.tls.listen}
        asked = sum(map(len, listen.values()))
        faults = [
            fault
            for table, addresses in listen.items()
            for fault in _find_faults(table, addresses, owner, may_use_low_ports)
        ]
        if len(faults) == asked:
            faults = [replace(each, severity=Severity.REFUSED) for each in faults]
        yield from faults
        yield from _find_faults("control", settings.control.listen, owner, may_use_low_ports)

    return look


def _find_faults(
    table: str, addresses: list[str], owner: SocketOwner, may_use_low_ports: bool
) -> Iterator[Finding]:
    for place, given in enumerate(addresses):
        address = parse_address(given)
        look = _why_not_path if address.path else _why_not_port
        why = look(address, owner)
        is_low = address.port in range(1, _FIRST_FREE_PORT)
        if why == os.strerror(errno.EACCES) and is_low and may_use_low_ports:
            continue
        if why:
            key = f"{table}.listen[{place}]"
            yield Finding(
                key, f"cannot listen there: {why}", repr(given), severity=Severity.DEGRADED
            )


def _why_not_port(address: Address, owner: SocketOwner) -> str:
    try:
        probe_port(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return owner.of(address)
        return error.strerror or str(error)
    return ""


def _why_not_path(address: Address, owner: SocketOwner) -> str:
    folder = os.path.dirname(address.path)
    try:
        if not stat.S_ISSOCK(os.lstat(address.path).st_mode):
            return "a file is there that is no socket"
        if is_answered(address.path):
            return owner.of(address)
    except FileNotFoundError:
        if not os.path.isdir(folder):
            return f"{folder} is not a directory"
    except OSError as error:
        return error.strerror or str(error)
    return _why_no_socket_in(folder)


def _why_no_socket_in(folder: str) -> str:
    """What speaks against making one, tried with another name; permissions do not tell all."""
    trial = os.path.join(folder, f".{secrets.token_hex(3)}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(trial)
        except OSError as error:
            return f"{folder}: {error.strerror or error}"
    os.unlink(trial)
    return ""


class Listener(NamedTuple):
    """A process that listens: its command line and its working directory."""

    pid: int
    name: str
    words: tuple[str, ...]
    folder: str


class SocketOwner:
    """Who listens on a port: the appliance of this configuration may, as it is to be reloaded."""

    def __init__(self, config: str, listeners: Mapping[int | str, Sequence[Listener]]) -> None:
        self._config = os.path.realpath(config)
        self._listeners = listeners

    def of(self, address: Address) -> str:
        """Who else has it, in words; empty if it is ours, or may be for all that we can see."""
        found = self._listeners.get(address.path or address.port, [])
        others = [each for each in found if not self._is_ours(each)]
        if not others or len(others) < len(found):
            return ""
        return f"{others[0].name} (pid {others[0].pid}) has the address"

    def _is_ours(self, listener: Listener) -> bool:
        if listener.name == "systemd":  # it holds those of ocaserve.socket for us
            return True
        if "ocaserve" not in map(os.path.basename, listener.words):
            return False
        names_none = not any(word.startswith(("-c", "--config")) for word in listener.words)
        return names_none or any(
            os.path.realpath(os.path.join(listener.folder, word)) == self._config
            for word in listener.words
        )


def _find_listeners() -> dict[int | str, list[Listener]]:
    """The processes that listen on each TCP port and path, as far as we may see them."""
    import psutil

    found: dict[int | str, list[Listener]] = {}
    try:
        connections = [*psutil.net_connections("tcp"), *psutil.net_connections("unix")]
    except (psutil.Error, OSError):
        return {}
    for each in connections:
        is_local = each.family == socket.AF_UNIX
        if not each.pid or not (is_local or each.status == psutil.CONN_LISTEN):
            continue
        listener = _describe(each.pid)
        if listener is not None:
            found.setdefault(each.laddr if is_local else each.laddr.port, []).append(listener)
    return found


@cache
def _describe(pid: int) -> Listener | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return Listener(pid, process.name(), tuple(process.cmdline()), process.cwd())
    except psutil.Error:
        return None

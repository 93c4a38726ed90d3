"""Starting the version that is installed now, beside this one, on the same listening sockets."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress

import msgspec

from ocaserve.addresses import Address
from ocaserve.channel import Order
from ocaserve.sockets import Listeners, pass_on
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.service import Notes

_log = logging.getLogger(__name__)

READY_OPTION = "--ready-fd"
_NOTES = "OCASERVE_NOTES"


class Upgrade:
    """At most one new version that is starting.

    arguments: our own command line. patience_s: for the new version to become ready. on_ready: told
    the pid of one that serves, which then goes on by itself.
    """

    def __init__(
        self,
        reactor: Reactor,
        arguments: Sequence[str],
        patience_s: float,
        on_ready: Callable[[int], None],
    ) -> None:
        self._reactor = reactor
        self._arguments = tuple(arguments)
        self._patience_s = patience_s
        self._on_ready = on_ready
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self.is_starting = False

    def start(
        self, listeners: Listeners, lent: Collection[Address], notes: Mapping[str, Notes]
    ) -> None:
        """Start one; or log why it cannot be. It finds the notes with `take_notes`."""
        variables, descriptors = pass_on(listeners, lent)
        variables[_NOTES] = msgspec.json.encode(notes).decode()
        try:
            self._process = process = self._launch(descriptors, variables)
        except OSError as error:
            _log.error("the new version cannot be started: %s", error)
            return
        self.is_starting = True
        _log.info("starting a new version (pid %d)", process.pid)
        self._reactor.watch(self._pipe, self._on_told)
        self._reactor.after(self._patience_s, lambda: self._end_patience(process))

    def _launch(
        self, descriptors: Sequence[int], variables: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Raises OSError, having closed what it had opened."""
        self._pipe, ready = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            return subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", "ocaserve", *new_arguments(self._arguments, ready)],
                pass_fds=(*descriptors, ready),
                env=new_environment(os.environ, variables),
            )
        except OSError:
            os.close(self._pipe)
            raise
        finally:
            os.close(ready)

    def _on_told(self) -> None:
        """The pipe is readable: it says that the new version serves, or ends without."""
        assert self._process is not None
        try:
            is_ready = bool(os.read(self._pipe, 1))
        except BlockingIOError:
            return
        if not is_ready:
            self.give_up("ended before it was ready")
            return
        self._end_start()
        self._on_ready(self._process.pid)

    def _end_patience(self, process: subprocess.Popen[bytes]) -> None:
        if self._process is process:
            self.give_up(f"was not ready within {self._patience_s:g} s")

    def reap(self) -> None:
        """Some child has ended: perhaps it was this."""
        if self._process is not None and self._process.poll() is not None:
            self.give_up("ended before it was ready")

    def give_up(self, why: str) -> None:
        """End the new version, if one is starting. Its workers notice, and end too."""
        if not self.is_starting:
            return
        assert self._process is not None
        self._end_start()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        _log.error("the new version (pid %d) %s", self._process.pid, why)

    def _end_start(self) -> None:
        self.is_starting = False
        self._reactor.unwatch(self._pipe)
        os.close(self._pipe)

    def let_go(self) -> None:
        """In a forked child: close what is the supervisor's alone."""
        if self.is_starting:
            os.close(self._pipe)


def new_arguments(arguments: Sequence[str], ready: int) -> list[str]:
    """Our own arguments, but with the descriptor that we wait on for the new version's word."""
    kept = list(arguments)
    while READY_OPTION in kept:
        place = kept.index(READY_OPTION)
        del kept[place : place + 2]
    kept = [word for word in kept if not word.startswith(READY_OPTION + "=")]
    return [*kept, READY_OPTION, str(ready)]


def new_environment(environment: Mapping[str, str], listeners: Mapping[str, str]) -> dict[str, str]:
    """Ours and `listeners`. WATCHDOG_PID names us: the new version has to feed the watchdog too."""
    return {k: v for k, v in environment.items() if k != "WATCHDOG_PID"} | dict(listeners)


def take_notes(environment: MutableMapping[str, str]) -> tuple[Notes, dict[str, Order]]:
    """Of the version before this one: the notes of its services, and its orders to workers.

    The variable is removed, as no child needs it.
    """
    notes = json.loads(environment.pop(_NOTES, "{}"))
    orders = msgspec.convert(notes.get("workers", {}), dict[str, Order])
    return dict(notes.get("services", {})), orders

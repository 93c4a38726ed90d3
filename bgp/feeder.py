"""ExaBGP's child: `python -m bgp.feeder` passes on what ExaBGP says to the control process.

The environment variable BGP_FEED_SOCKET names control's socket.

ExaBGP writes to its child with calls that block, in the thread that also keeps its sessions: a
child that does not read makes it lose them. So this program reads before it does anything else,
and nothing that it does can wait: it has one thread, a poll, and descriptors that were found ready.
It does not look into the lines, of which there may be thousands a second.

What goes over the socket to control
------------------------------------
Lines, each ended by a newline: those of ExaBGP, byte for byte and in order (each a JSON object with
the key "exabgp"), and the feeder's own among them (each with the key "feeder"):

`{"feeder": "hello", "version": 1, "pid": N, "exabgp_pid": N}`
    The first line of each connection. Whatever was known before may be out of date from here on,
    until "neighbors" says more.
`{"feeder": "gap", "dropped": N}`
    Lines are missing here: control did not read, or was away, and N bytes were dropped.
`{"feeder": "neighbors", "neighbors": [{"peer": "192.0.2.1", "local": "192.0.2.10",
"peer_as": 65001, "local_as": 65000, "up": true, "families": ["ipv4 unicast"], "asked": true}]}`
    Which sessions ExaBGP has at this point of the stream. One that is not up is down, whatever was
    heard before. One that was "asked" sends all its routes of these families again behind this
    line, between "begin" and "end" of a refresh if the router knows how (RFC 7313). One that is up
    and was not asked is as the lines before say. It follows each start of the feeder, each gap,
    each order, and each hello but the first.

What comes from control
-----------------------
`{"order": "refresh"}` or `{"order": "refresh", "peer": "192.0.2.1"}`: have the routers send all
routes again; answered by "neighbors". Control sends it when it finds lines missing.

When control is not there
-------------------------
Before control connects for the first time the lines wait for it, up to a bound. Later, or beyond
the bound, they are dropped, and the routers are asked for everything once control reads again: the
control process that comes back has an empty table anyway.

When this program is killed
---------------------------
A write of ExaBGP's into a pipe that nobody holds open ends its sessions, and it does not make new
ones. So a second process, the guard, holds the pipes open and does nothing else. When the feeder
ends without ExaBGP's doing, the guard says a word to ExaBGP, again and again until it finds its
child gone and starts another one.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from bgp.backlog import LineBacklog, LineSplitter
from bgp.commands import LIST_NEIGHBORS, CommandError, refresh_routes

SOCKET_VARIABLE = "BGP_FEED_SOCKET"
VERSION = 1  # of what goes over the socket
BACKLOG_BYTES = 128 << 20  # a million routes are 135 MB of lines; control reads three times as fast
_PIPE_BYTES = 1 << 20  # the most that Linux allows anybody; gives ExaBGP a third of a second more
_READ_BYTES = 1 << 20
_SEND_BYTES = 1 << 20  # before the next look at standard input
_GATHER_S = (
    0.002  # lines of this time are read at once: a read for each would cost three times more
)
_CONNECT_AGAIN_S = 0.2
_ANSWER_S = 5.0  # for ExaBGP to list its neighbors; a command that failed has no answer
_SAY_AGAIN_S = 0.1
_FLUSH_S = 1.0  # for control to take the last lines; ExaBGP kills its child after 2 s
_ORDER_BYTES = 65_536
_TYPE_WITHIN = 600  # bytes of a line, in which its type comes: before it only a host name is long
_STDIN, _STDOUT = 0, 1


class Feeder:
    """Standard input to a socket, and refreshes the other way.

    path: of control's socket. limit: bytes that may wait for control.
    """

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._splitter = LineSplitter()
        self._backlog = LineBacklog(limit)
        self._commands: deque[bytes] = deque()
        self._asked_for: set[str] | None = set()  # peers to refresh; None for all
        self._asked_at: float | None = None  # since when ExaBGP owes a list of its neighbors
        self._is_first_answer = True
        self._begun: set[str] = set()  # peers whose sessions began before our eyes, until then
        self._link: socket.socket | None = None
        self._orders = b""
        self._connect_at = 0.0
        self._signals, self._signals_in = os.pipe()
        self._is_over = False

    def run(self) -> None:
        """Until standard input ends or SIGTERM comes."""
        os.set_blocking(self._signals_in, False)
        signal.set_wakeup_fd(self._signals_in)
        signal.signal(signal.SIGTERM, _leave_to_the_pipe)
        self._ask(None)
        while not self._is_over:
            self._turn()
        self._flush()

    def _turn(self) -> None:
        """Wait until something can be done, and do all of it, reading first."""
        self._connect_when_due()
        ready = dict(self._wait())
        self._is_over = self._signals in ready  # what is in the pipe is read all the same
        if _STDIN in ready:
            time.sleep(_GATHER_S)
            self._read()
        if _STDOUT in ready:
            os.write(_STDOUT, self._commands.popleft())
        if self._link is not None and ready.get(self._link.fileno(), 0) & ~select.POLLOUT:
            self._hear()
        self._recover()
        self._send()
        if self._asked_at is not None and time.monotonic() > self._asked_at + _ANSWER_S:
            self._ask(None)

    def _wait(self) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(_STDIN, select.POLLIN)
        poll.register(self._signals, select.POLLIN)
        if self._commands:  # a pipe that is ready takes PIPE_BUF bytes, more than any command
            poll.register(_STDOUT, select.POLLOUT)
        if self._link is not None:
            wanted = select.POLLIN | (select.POLLOUT if self._backlog.size else 0)
            poll.register(self._link, wanted)
        return poll.poll(_CONNECT_AGAIN_S * 1000)

    # -- from ExaBGP -----------------------------------------------------------------------------

    def _read(self) -> None:
        data = os.read(_STDIN, _READ_BYTES)
        self._is_over |= not data
        block = self._splitter.split(data)
        if self._is_first_answer:
            self._begun |= set(_find_begun(block))
        if self._asked_at is not None and (block.startswith(b"[") or b"\n[" in block):
            block = self._take_answer(block)
        self._backlog.add(block)

    def _take_answer(self, block: bytes) -> bytes:
        """The block with the list of neighbors replaced by a line for control."""
        lines = block.splitlines(keepends=True)
        place = next(place for place, line in enumerate(lines) if line.startswith(b"["))
        self._asked_at = None
        lines[place] = self._describe_neighbors(json.loads(lines[place]))
        return b"".join(lines)

    def _describe_neighbors(self, listed: list[dict[str, Any]]) -> bytes:
        """Ask those that are up for their routes; returns the line that says so."""
        neighbors = [_describe(neighbor) for neighbor in listed]
        for neighbor in neighbors:
            is_meant = self._asked_for is None or neighbor["peer"] in self._asked_for
            neighbor["asked"] = neighbor["up"] and is_meant and neighbor["peer"] not in self._begun
            if neighbor["asked"]:
                self._command_refresh(neighbor)
        self._asked_for, self._begun, self._is_first_answer = set(), set(), False
        return _as_line({"feeder": "neighbors", "neighbors": neighbors})

    def _command_refresh(self, neighbor: dict[str, Any]) -> None:
        try:
            commands = [refresh_routes(neighbor["peer"], f) for f in neighbor["families"]]
        except CommandError as error:
            _say(f"no refresh: {error}")
            return
        self._commands += commands

    def _ask(self, peer: str | None) -> None:
        """Have the routes of a peer, or of all, sent again; first ask which sessions there are."""
        if peer is None or self._asked_for is None:
            self._asked_for = None
        else:
            self._asked_for.add(peer)
        if self._asked_at is None or time.monotonic() > self._asked_at + _ANSWER_S:
            self._asked_at = time.monotonic()
            self._commands.append(LIST_NEIGHBORS)

    # -- to control ------------------------------------------------------------------------------

    def _connect_when_due(self) -> None:
        now = time.monotonic()
        if self._link is not None or now < self._connect_at:
            return
        self._connect_at = now + _CONNECT_AGAIN_S
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.setblocking(False)
        hello = {"feeder": "hello", "version": VERSION, "pid": os.getpid()}
        try:
            link.connect(self._path)
            link.send(_as_line({**hello, "exabgp_pid": os.getppid()}))  # the first bytes always fit
        except OSError:
            link.close()
            return
        _say("connected to control")
        self._link = link
        self._orders = b""

    def _recover(self) -> None:
        """After a gap: once control has taken all that was before it, go on from a known state."""
        if self._link is None or not self._backlog.has_gap or self._backlog.size:
            return
        self._backlog.end_gap()
        self._backlog.add(_as_line({"feeder": "gap", "dropped": self._backlog.dropped}))
        self._ask(None)

    def _send(self) -> None:
        sent = 0
        while self._link is not None and self._backlog.size and sent < _SEND_BYTES:
            try:
                count = self._link.send(self._backlog.peek())
            except BlockingIOError:
                return
            except OSError as error:
                self._lose_link(error.strerror)
                return
            self._backlog.advance(count)
            sent += count

    def _hear(self) -> None:
        assert self._link is not None
        try:
            data = self._link.recv(_ORDER_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose_link(error.strerror)
            return
        *orders, self._orders = (self._orders + data).split(b"\n")
        for order in orders:
            self._obey(order)
        if not data or len(self._orders) > _ORDER_BYTES:
            self._lose_link("control closed" if not data else "an order without end")

    def _obey(self, order: bytes) -> None:
        try:
            match json.loads(order):
                case {"order": "refresh", "peer": str() as peer}:
                    self._ask(peer)
                case {"order": "refresh"}:
                    self._ask(None)
                case _:
                    _say(f"unknown order {order[:100]!r}")
        except ValueError:
            _say(f"not an order: {order[:100]!r}")

    def _lose_link(self, why: str | None) -> None:
        _say(f"lost control: {why}")
        assert self._link is not None
        self._link.close()
        self._link = None
        self._backlog.forget()

    # -- the end ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Give control the last lines: they say that the sessions are down."""
        deadline = time.monotonic() + _FLUSH_S
        while self._link is not None and self._backlog.size and time.monotonic() < deadline:
            poll = select.poll()
            poll.register(self._link, select.POLLOUT)
            poll.poll(_FLUSH_S * 1000)
            self._send()


def _find_begun(block: bytes) -> Iterator[str]:
    """The peers of which a block of lines says that their session is up."""
    for line in block.splitlines():
        if b'"type": "state"' in line[:_TYPE_WITHIN]:
            neighbor = json.loads(line)["neighbor"]
            if neighbor["state"] == "up":
                yield str(neighbor["address"]["peer"])


def _describe(listed: dict[str, Any]) -> dict[str, Any]:
    """A neighbor as control is told of it, from one of ExaBGP's list.

    ExaBGP's "state" is "down" in the first second of a session; its state machine knows better.
    """
    local, peer = listed["local"], listed["peer"]
    return {
        "peer": peer["address"],
        "local": local["address"],
        "peer_as": peer["as"],
        "local_as": local["as"],
        "up": listed["fsm"] == "ESTABLISHED",
        "families": listed["families"],
    }


def _as_line(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode() + b"\n"


def _say(text: str) -> None:
    """To the log, which is standard error: ExaBGP reads the other one."""
    print(f"feeder: {text}", file=sys.stderr, flush=True)


# -- the process ---------------------------------------------------------------------------------


def guard_pipes() -> None:
    """Fork the process that holds the pipes open when this one is killed."""
    feeder_lives, held = os.pipe()
    if os.fork():
        os.close(feeder_lives)  # `held` stays open until we end, however we do
        return
    os.close(held)
    _guard(feeder_lives)


def _guard(feeder_lives: int) -> NoReturn:
    """Wait for the feeder's end, and then for ExaBGP to close the pipes.

    The word is said again until then: a process that ends closes its pipes before its parent can
    see that it ended, and ExaBGP looks whether its child lives only when it has read something.
    """
    poll = select.poll()
    poll.register(_STDIN, select.POLLIN)
    with suppress(OSError):
        os.read(feeder_lives, 1)
        os.set_blocking(_STDOUT, False)
        say_at = time.monotonic()
        while True:
            if time.monotonic() >= say_at:
                say_at += _SAY_AGAIN_S
                with suppress(BlockingIOError):
                    os.write(_STDOUT, b"debug the feeder has ended\n")
            if poll.poll(_SAY_AGAIN_S * 1000) and not os.read(_STDIN, _READ_BYTES):
                break
    os._exit(0)


def _widen_pipe() -> None:
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # standard input is no pipe, or the system allows less
            fcntl.fcntl(_STDIN, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _leave_to_the_pipe(number: int, frame: FrameType | None) -> None:
    """A signal without a handler would not be written into the pipe."""


def main(limit: int = BACKLOG_BYTES) -> None:
    """Run by ExaBGP. limit: bytes that may wait for control."""
    guard_pipes()
    _widen_pipe()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the guard leaves no zombie
    Feeder(os.environ[SOCKET_VARIABLE], limit).run()


if __name__ == "__main__":
    main()

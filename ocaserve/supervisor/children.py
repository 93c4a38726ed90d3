"""Processes that the supervisor has forked: started, heard, and ended by one set of rules.

A child has nothing of the supervisor's but a channel to it, a pair of sockets for whole messages in
order (SOCK_SEQPACKET): orders to the child, facts from it (`ocaserve.channel`). Its end tells
either side at once that the other is gone, however it went.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import msgspec

from ocaserve.addresses import Address
from ocaserve.channel import Beat, Fact, Order, encode_message, read_fact
from ocaserve.supervisor.output import Output
from ocaserve.supervisor.reactor import Reactor
from ocaserve.supervisor.staffing import RestartTiming

_log = logging.getLogger(__name__)

_MESSAGE_BYTES = 65_536
_COMM_CHARACTERS = 15  # proc_pid_comm(5)


class Channel:
    """The supervisor's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, order: Order) -> bool:
        """Send an order; False if it could not be taken: the child is gone, stuck or the system
        has no room.
        """
        try:
            self._socket.send(encode_message(order))
        except OSError:
            return False
        return True

    def hear(self) -> bytes:
        """The next message; empty at the end, which a child that is gone leaves.

        Call when readable. Raises BlockingIOError when there is none.
        """
        try:
            return self._receive()
        except ConnectionResetError:
            return b""

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_MESSAGE_BYTES)
        except ConnectionResetError:
            # The child has ended with orders unread, which is told first, and once; what it had
            # said before comes after it.
            return self._socket.recv(_MESSAGE_BYTES)

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class ChildRole:
    """What a child is for, and whom its owner is told of.

    name: what ps(1) and top(1) show for it, where the system lets us say so; title: what the log
    calls it. run: its life; it gets the channel and returns the exit status. keeps: the addresses
    whose listeners it has. on_fact: all it says but signs of life. on_silence: its channel has
    ended; a program that it has become knows nothing of it. on_exit: the status of waitpid(2).
    """

    name: str
    title: str
    run: Callable[[socket.socket], int]
    keeps: Collection[Address]
    on_fact: Callable[[Fact], object]
    on_exit: Callable[[int], object]
    on_silence: Callable[[], object] = lambda: None
    beats: bool = True


@dataclass(eq=False)
class Child:
    """One process, from fork to wait. Times are those of the monotonic clock."""

    role: ChildRole
    pid: int
    channel: Channel
    started: float
    heard: float
    output: Output | None = None  # of a program that it becomes
    is_killed: bool = False
    is_over: bool = False
    was_misunderstood: bool = False

    def __str__(self) -> str:
        return f"{self.role.title} (pid {self.pid})"

    def tell(self, order: Order) -> bool:
        """Send an order; False if it could not be taken."""
        return self.channel.tell(order)


class Children:
    """All of them. let_go: closes in a child what is the supervisor's, all listeners but those of
    the addresses it is given.
    """

    def __init__(
        self, reactor: Reactor, timing: RestartTiming, let_go: Callable[[Collection[Address]], None]
    ) -> None:
        self._reactor = reactor
        self._timing = timing
        self._let_go_of_ours = let_go
        self._alive: dict[int, Child] = {}
        self._is_refused = False

    def start(self, role: ChildRole) -> Child | None:
        """Fork one; None when the system refuses, which is told once until it does not."""
        output = None
        try:
            run = role.run
            if not role.beats:
                output = Output(self._reactor, role.title)
                run = partial(_run_heard, output, role.run)
            pid, channel = fork_child(
                role.name, run, lambda: self._let_go(role.keeps), self._reactor.signals
            )
        except OSError as error:
            if output is not None:
                output.give_up()
            if not self._is_refused:
                _log.error("%s cannot be started, is tried again: %s", role.title, error.strerror)
            self._is_refused = True
            return None
        if self._is_refused:
            _log.warning("%s (pid %d): processes can be started again", role.title, pid)
        self._is_refused = False
        now = time.monotonic()
        child = Child(role, pid, channel, now, now, output)
        if output is not None:
            output.hear()
        self._alive[pid] = child
        self._reactor.watch(channel.fileno(), lambda: self._hear(child))
        return child

    def _let_go(self, keeps: Collection[Address]) -> None:
        self._let_go_of_ours(keeps)
        for child in self._alive.values():
            child.channel.close()
            if child.output is not None:
                child.output.close()

    # -- what they say ---------------------------------------------------------------------------

    def _hear(self, child: Child) -> bool:
        """Take one message; False when there is no other."""
        try:
            message = child.channel.hear()
        except BlockingIOError:
            return False
        if not message:  # it has become another program, or is gone, which SIGCHLD tells
            self._reactor.unwatch(child.channel.fileno())
            child.role.on_silence()
            return False
        child.heard = time.monotonic()
        try:
            fact = read_fact(message)
        except msgspec.DecodeError as error:
            if not child.was_misunderstood:
                _log.error("%s says what is not known, that is left out: %s", child, error)
            child.was_misunderstood = True
            return True
        if not isinstance(fact, Beat):
            child.role.on_fact(fact)
        return True

    def _hear_last_words(self, child: Child) -> None:
        """What it had said before it was killed counts: a drain, for instance."""
        while self._hear(child):
            pass

    # -- their ends ------------------------------------------------------------------------------

    def reap(self) -> None:
        """Take note of all that have ended, also of those that were left to us by others.

        As the first process of a container the supervisor inherits what its children leave behind.
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            child = self._alive.pop(pid, None)
            if child is not None:
                self._reactor.contain(partial(self._end, child, status))

    def _end(self, child: Child, status: int) -> None:
        self._reactor.contain(lambda: self._hear_last_words(child))
        child.is_over = True
        self._reactor.unwatch(child.channel.fileno())
        child.channel.close()
        child.role.on_exit(status)

    def look_after(self, now: float) -> None:
        """One that gives no sign of life is stuck, and is better replaced than waited for."""
        for child in self._alive.values():
            if child.role.beats and now - child.heard > self._timing.silence_s:
                self.kill(child, f"gave no sign of life for {self._timing.silence_s:g} s")

    def are_lively(self, now: float) -> bool:
        """Whether all that give signs of life have given one lately."""
        return all(
            now - child.heard < self._timing.silence_s
            for child in self._alive.values()
            if child.role.beats
        )

    def kill_after(self, child: Child, seconds: float, why: str) -> None:
        """Unless it has ended by then."""
        self._reactor.after(seconds, lambda: self.kill(child, why))

    def kill(self, child: Child, why: str) -> None:
        """End it at once."""
        if not child.is_over and not child.is_killed:
            _log.error("%s %s: killed", child, why)
            child.is_killed = True
            assert child.pid > 1, "0 and less name groups of processes"
            os.kill(child.pid, signal.SIGKILL)


# -- forking -------------------------------------------------------------------------------------


def _run_heard(output: Output, run: Callable[[socket.socket], int], channel: socket.socket) -> int:
    output.adopt()
    return run(channel)


def fork_child(
    name: str,
    run: Callable[[socket.socket], int],
    let_go: Callable[[], None],
    held_back: Iterable[int],
) -> tuple[int, Channel]:
    """Fork; the child calls `run` with its end of the channel and ends with the status it returns.

    let_go: closes, in the child, what belongs to the supervisor alone, and resets its signals.
    held_back: signals that wait meanwhile. One that came to the child before `let_go` would
    otherwise be written into the supervisor's pipe, as if it had come to both.

    Returns the child's pid and the supervisor's end of the channel. Raises OSError.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    try:
        pid = os.fork()
        if not pid:
            _live(name, run, (ours, theirs), let_go, before)
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
    return pid, Channel(ours)


def _live(
    name: str,
    run: Callable[[socket.socket], int],
    ends: tuple[socket.socket, socket.socket],
    let_go: Callable[[], None],
    mask: Iterable[int],
) -> None:
    """The child's whole life; does not return."""
    status = 1
    try:
        ours, theirs = ends
        ours.close()
        _show_name(name)
        let_go()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = run(theirs)
        logging.shutdown()
    except BaseException:  # noqa: BLE001 - the border of the process, which ends here
        traceback.print_exc()
    finally:
        os._exit(status)  # or the child would go on as a second supervisor


def _show_name(name: str) -> None:
    with suppress(OSError), open("/proc/self/comm", "w") as comm:
        comm.write(f"oca-{name}"[:_COMM_CHARACTERS])


def describe_exit(wait_status: int) -> str:
    """How a child ended, from what waitpid(2) gave, as the end of a sentence."""
    code = os.waitstatus_to_exitcode(wait_status)
    if code < 0:
        return f"was ended by signal {-code} ({signal.strsignal(-code)})"
    return f"ended with status {code}"

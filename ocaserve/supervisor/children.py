"""Forking a child that has nothing of the supervisor's but a channel to it.

The channel is a pair of sockets for whole messages in order (SOCK_SEQPACKET), each a JSON object:
orders to the child (`{"do": "drain", "deadline_s": 30}`), facts from it (`{"is": "ready"}`). Its
end tells either side at once that the other is gone, however it went.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

_MESSAGE_BYTES = 65_536
_COMM_CHARACTERS = 15  # proc_pid_comm(5)


class Channel:
    """The supervisor's end."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def tell(self, order: Mapping[str, Any]) -> None:
        """Send an order. A child that cannot take it is dead, or will be found silent."""
        with suppress(OSError):
            self._socket.send(json.dumps(order).encode())

    def hear(self) -> dict[str, Any] | None:
        """The next fact; None at the end, which a child that is gone leaves. Call when readable."""
        try:
            message = self._receive()
        except ConnectionResetError:
            return None
        return dict(json.loads(message)) if message else None

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(_MESSAGE_BYTES)
        except ConnectionResetError:
            # The child has ended with orders unread, which is told first, and once; what it had
            # said before comes after it.
            return self._socket.recv(_MESSAGE_BYTES)

    def close(self) -> None:
        self._socket.close()


def fork_child(
    name: str,
    run: Callable[[socket.socket], int],
    let_go: Callable[[], None],
    held_back: Iterable[int],
) -> tuple[int, Channel]:
    """Fork; the child calls `run` with its end of the channel and ends with the status it returns.

    name: what ps(1) and top(1) show for it, where the system lets us say so.
    let_go: closes, in the child, what belongs to the supervisor alone, and resets its signals.
    held_back: signals that wait meanwhile. One that came to the child before `let_go` would
    otherwise be written into the supervisor's pipe, as if it had come to both.

    Returns the child's pid and the supervisor's end of the channel.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    pid = os.fork()
    if not pid:
        ours.close()
        _show_name(name)
        _live(run, theirs, let_go, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return pid, Channel(ours)


def _live(
    run: Callable[[socket.socket], int],
    channel: socket.socket,
    let_go: Callable[[], None],
    mask: Iterable[int],
) -> None:
    """The child's whole life; does not return."""
    status = 1
    try:
        let_go()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        status = run(channel)
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

"""A process beside the workers, of which there is one at most: `control`, for instance.

What it does is a function that a forked child calls with what it is `Given`. The function runs, as
a worker does, until the channel tells it to stop, and gives a sign of life each second; or it is
replaced by another program (`become`), which knows nothing of the channel and is ended by a signal.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ocaserve.metrics import CounterMap
from ocaserve.settings import Settings
from ocaserve.sockets import Listeners

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PROC_PDEATHSIG_CTL = 11  # sys/procctl.h, FreeBSD 11.2
_P_PID = 0
_FOR_THE_SUPERVISOR = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip

Notes = dict[str, Any]
"""What a service wants its successor to know, whoever of them is killed: JSON values by name."""


@dataclass(frozen=True)
class Given:
    """What a service's process has. `channel` carries JSON messages, one for each datagram.

    It hears `{"do": "stop", "is_replaced": false}`, `{"do": "reopen_logs"}` and `{"do": "see",
    "appliance": {...}}`, and says what `ocaserve.channel` lists, a beat each second. `counters` are
    those of all workers, to be read. `folder` is for files that nobody needs after the appliance.
    """

    settings: Settings
    listeners: Listeners
    counters: CounterMap
    channel: socket.socket
    folder: Path
    notes: Notes


@dataclass(frozen=True)
class Service:
    """What the supervisor is to know of one.

    depends_on: the part of the settings that it is made from. None: it is not wanted. When a reload
    changes it, the process is replaced; its listening sockets stay, so that nobody is refused.
    listen: the addresses of its sockets. is_command: `run` ends in `become`.
    adjust: called instead of replacing a running process, with what it was made from, what it is to
    be made from, the folder and its pid; False if it must be replaced after all.
    """

    name: str
    run: Callable[[Given], int]
    depends_on: Callable[[Settings], object]
    listen: Callable[[Settings], Sequence[str]] = lambda _: ()
    is_command: bool = False
    adjust: Callable[[object, object, Path, int], bool] | None = None


def leave_signals() -> None:
    """For a service's process: the supervisor decides what they mean, and tells it."""
    for number in _FOR_THE_SUPERVISOR:
        signal.signal(number, signal.SIG_IGN)


def become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by another program, which ends when the supervisor does.

    Its standard input is empty, its output goes to the supervisor, which logs it. Raises OSError.
    """
    supervisor = os.getppid()
    os.setpgid(0, 0)  # what a terminal sends is meant for the supervisor
    _end_with_parent()
    if os.getppid() != supervisor:  # it went before the kernel was asked to tell us
        sys.exit(1)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that would be inherited
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # who started us may have left some open
    os.execve(command[0], list(command), dict(environment))  # noqa: S606 - the caller's own command


def _end_with_parent() -> None:
    """Have the kernel send TERM when the supervisor is gone, however it went."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform.startswith("linux"):
        libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    elif sys.platform.startswith("freebsd"):
        number = ctypes.c_int(signal.SIGTERM)
        libc.procctl(_P_PID, ctypes.c_int64(0), _PROC_PDEATHSIG_CTL, ctypes.byref(number))

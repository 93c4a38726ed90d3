"""Starting the version that is installed now, beside this one, on the same listening sockets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from ocaserve.addresses import Address
from ocaserve.sockets import Listeners, pass_on

READY_OPTION = "--ready-fd"


class Upgrade:
    """A new version that is starting. `pipe` is readable when it serves, or has ended without."""

    def __init__(
        self, listeners: Listeners, lent: Collection[Address], arguments: Sequence[str]
    ) -> None:
        variables, descriptors = pass_on(listeners, lent)
        self.pipe, ready = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, "-m", "ocaserve", *new_arguments(arguments, ready)],
                pass_fds=(*descriptors, ready),
                env=new_environment(os.environ, variables),
            )
        except OSError:
            os.close(self.pipe)
            raise
        finally:
            os.close(ready)
        self.pid = self._process.pid

    def is_ready(self) -> bool:
        """What the pipe tells, once it is readable."""
        return bool(os.read(self.pipe, 1))

    def has_ended(self) -> bool:
        """Whether the new version is gone; reaps it."""
        return self._process.poll() is not None

    def let_go(self) -> None:
        """Close the pipe; the new version goes on by itself."""
        os.close(self.pipe)

    def give_up(self) -> None:
        """End the new version, if it has not ended by itself. Its workers notice, and end too."""
        self.let_go()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


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

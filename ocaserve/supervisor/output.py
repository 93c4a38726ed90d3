"""What a program says that a child has become: lines of our own log.

It knows nothing of our log, would wait for whoever does not read it (ExaBGP then stops all
sessions), and says what routers say, as often as they say it. So its output is a pipe that the
supervisor always reads; the lines go the way of all others, within bounds of their own.
"""

from __future__ import annotations

import logging
import os

from ocaserve.logs import BURST_OF_PROGRAM
from ocaserve.supervisor.reactor import Reactor

_log = logging.getLogger(__name__)

_CHUNK = 65_536
_LONGEST_LINE = 4_096  # bytes; what is longer is told in parts


class Output:
    """The pipe, until its last writer has gone. title: what the log calls the program."""

    def __init__(self, reactor: Reactor, title: str) -> None:
        """Raises OSError."""
        self._reactor = reactor
        self._title = title
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        self._begun = b""  # a line whose end has not come
        self._is_watched = False

    def adopt(self) -> None:
        """In the child: say everything here from now on."""
        os.close(self._reading)
        os.dup2(self._writing, 1)
        os.dup2(self._writing, 2)

    def hear(self) -> None:
        """In the parent: log what is said."""
        os.close(self._writing)
        self._reactor.watch(self._reading, self._on_readable)
        self._is_watched = True

    def close(self) -> None:
        """Hear no more; in another child: let go of what is not its own."""
        if self._is_watched:
            self._reactor.unwatch(self._reading)
            self._is_watched = False
            os.close(self._reading)

    def give_up(self) -> None:
        """There will be no child."""
        os.close(self._reading)
        os.close(self._writing)

    def _on_readable(self) -> None:
        try:
            data = os.read(self._reading, _CHUNK)
        except BlockingIOError:
            return
        *lines, self._begun = (self._begun + data).split(b"\n")
        if self._begun and (not data or len(self._begun) >= _LONGEST_LINE):
            lines.append(self._begun)
            self._begun = b""
        for line in filter(None, lines):
            text = line.decode("utf-8", "backslashreplace")
            _log.info("%s: %s", self._title, text, extra=BURST_OF_PROGRAM)
        if not data:
            self.close()

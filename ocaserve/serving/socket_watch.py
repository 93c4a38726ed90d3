"""What a connection wants to hear of its socket: the kernel is told only what has changed."""

from __future__ import annotations

from ocaserve.serving.readiness import READ, WRITE, Readiness, Watched


class SocketWatch:
    """interest: READ, WRITE, both or 0. While a writer waits it hears of everything first."""

    __slots__ = ("_descriptor", "_readiness", "interest", "reader", "writer")

    def __init__(self, readiness: Readiness, descriptor: int, reader: Watched) -> None:
        self._readiness = readiness
        self._descriptor = descriptor
        self.reader = reader
        self.interest = 0
        self.writer: Watched = reader

    def want_read(self, *, wanted: bool) -> None:
        """Hear when the client has sent something, or no longer."""
        self._set(self.interest | READ if wanted else self.interest & ~READ)

    def want_write(self, *, wanted: bool) -> None:
        """Hear when the socket takes bytes again, or no longer."""
        self._set(self.interest | WRITE if wanted else self.interest & ~WRITE)

    def stop(self) -> None:
        """Hear nothing more."""
        self._set(0)

    def _set(self, interest: int) -> None:
        if interest != self.interest:
            before, self.interest = self.interest, interest
            watched = self.writer if interest & WRITE else self.reader
            self._readiness.change(self._descriptor, watched, before, interest)

"""`openssl s_client` as a test drives it: the one client that can be told to change its keys."""

from __future__ import annotations

import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.support.wire import Address, Response, parse_head

_WAIT_S = 20.0
_ECHOES = {"K": b"KEYUPDATE", "k": b"KEYUPDATE", "R": b"RENEGOTIATING"}


class SClient:
    """A connection over TLS, held by openssl; what it hears and says goes to the file `messages`.

    Every wait is bounded, and raises TimeoutError, or EOFError when the client has ended.
    """

    def __init__(self, address: Address, messages: Path, *words: str) -> None:
        where = ["-connect", f"{address[0]}:{address[1]}", "-msg", "-msgfile", str(messages)]
        where += ["-quiet", "-no_ign_eof"]  # nothing but what it receives, and yet commands
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            ["openssl", "s_client", *where, *words], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._received = _Heard(self._process.stdout)
        self._said = _Heard(self._process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def order(self, command: str) -> None:
        """Give one of its commands (openssl-s_client(1), "Connected commands").

        K changes its keys and asks the server for the same, k only changes them, R renegotiates.
        It must have sent what came before: a command has to stand at the start of what it reads.
        """
        self.send(command.encode() + b"\n")
        self.read_complaint(_ECHOES[command])

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def read_head(self) -> Response:
        """The head of a response; its body comes next."""
        while b"\r\n\r\n" not in self._received.unread:
            self._listen("a head")
        return parse_head(self._received.take(self._received.unread.index(b"\r\n\r\n") + 4)[:-4])

    def read_exactly(self, count: int) -> bytes:
        while len(self._received.unread) < count:
            self._listen(f"{count} bytes")
        return self._received.take(count)

    def read_complaint(self, text: bytes) -> None:
        """What it says on standard error, through this text."""
        while text not in self._said.unread:
            self._listen(repr(text))
        self._said.take(self._said.unread.index(text) + len(text))

    def wait(self) -> int:
        """Its exit status; it ends when the server closes."""
        return self._process.wait(_WAIT_S)

    def _listen(self, wanted: str) -> None:
        """Take what it has written to either pipe: with one full, it would wait."""
        pipes = {heard.pipe: heard for heard in (self._received, self._said)}
        ready = select.select(list(pipes), [], [], _WAIT_S)[0]
        if not ready:
            raise TimeoutError(f"no {wanted} in {_WAIT_S} s: {self._said.unread!r}")
        if not any(pipes[pipe].receive() for pipe in ready):
            raise EOFError(f"it ended before {wanted}: {self._said.unread!r}")


class _Heard:
    """A pipe, and what came out of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self.pipe = pipe
        self.unread = b""

    def take(self, count: int) -> bytes:
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def receive(self) -> int:
        data = self.pipe.read(1 << 16)
        self.unread += data
        return len(data)

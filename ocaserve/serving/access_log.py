"""One line for each response, built in one step and written in batches by a thread.

The event loop only appends to a list. A thread takes the list once a second, or when it has grown,
and writes it with one call to a file opened for appending, or with several to a pipe, so that the
lines of several workers interleave whole. When the disk of the log cannot keep up, lines are
dropped and counted: content is served all the same.
"""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from select import PIPE_BUF
from typing import Any

from ocaserve.protocol.messages import Fields, Request
from ocaserve.serving.pool import IoPool

_BATCH_LINES = 2_000  # handed over at once: about 400 kB, a millisecond of writing
_MOST_BYTES = 1 << 30  # more than any batch has
_MOST_PENDING = 20  # batches waiting for the disk; beyond it lines are dropped
_LAST_S = 5.0  # that the end of the process waits for the disk
_QUOTE, _BACKSLASH = b'"\\'  # numbers: looking for bytes would try them as a number first, and fail
_UNSAFE = re.compile(rb'[^\x20-\x7e]|["\\]')


@lru_cache(maxsize=4096)
def _escaped(value: bytes | None) -> bytes:
    """A field value that cannot break out of its quotes or start a line of its own."""
    if not value:
        return b"-"
    return _UNSAFE.sub(lambda match: b"\\x%02X" % match[0][0], value)


@lru_cache(maxsize=4096)
def _json_text(value: bytes | None) -> str:
    return json.dumps(None if value is None else value.decode("latin-1"))


def format_combined(
    when: bytes, address: bytes, request: Request | None, received: bytes,
    status: int, sent: int, duration_s: float, note: str,
) -> bytes:  # fmt: skip
    """A line of the combined log format.

    when: local time as it stands between the brackets. received: the first line of what came,
    where no request could be made of it. sent: bytes of body. duration_s and note have no place in
    this format.
    """
    if request is None:
        return b'%b - - [%b] "%b" %d %d "-" "-"\n' % (
            address, when, _escaped(received), status, sent,
        )  # fmt: skip
    method, target, minor, fields, _ = request
    if _QUOTE in target or _BACKSLASH in target:
        target = _escaped(target)
    tail = _tails.get(fields) or _make_tail(fields)
    return b'%b - - [%b] "%b %b HTTP/1.%d" %d %d %b' % (
        address, when, method, target, minor, status, sent, tail,
    )  # fmt: skip


def format_plain(
    when: bytes, address: bytes, target: bytes, fields: Fields, status: int, sent: int
) -> bytes:
    """`format_combined` of a GET by HTTP/1.1, in half of the time."""
    if _QUOTE in target or _BACKSLASH in target:
        target = _escaped(target)
    tail = _tails.get(fields) or _make_tail(fields)
    return b'%b - - [%b] "GET %b HTTP/1.1" %d %d %b' % (
        address, when, target, status, sent, tail,
    )  # fmt: skip


_tails: dict[Fields, bytes] = {}
"""The end of a line, for each set of fields: a client's requests share one (`protocol.head`)."""
_MOST_TAILS = 4_096


def _make_tail(fields: Fields) -> bytes:
    if len(_tails) >= _MOST_TAILS:
        _tails.clear()
    tail = b'"%b" "%b"\n' % (_escaped(fields.referer), _escaped(fields.user_agent))
    _tails[fields] = tail
    return tail


def format_json(
    when: bytes, address: bytes, request: Request | None, received: bytes,
    status: int, sent: int, duration_s: float, note: str,
) -> bytes:  # fmt: skip
    """One JSON object a line, with what `format_combined` gets and the request's range.

    when: RFC 3339 UTC time. note: why the response ended early or was refused; null if neither.
    """
    if request is None:
        said = f'"request":{_json_text(received)}'
    else:
        fields = request.fields
        said = (
            f'"method":{_json_text(request.method)},"target":{_json_text(request.target)},'
            f'"protocol":"HTTP/1.{request.minor}","host":{_json_text(fields.host)},'
            f'"range":{_json_text(request.range)},'
            f'"referer":{_json_text(fields.referer)},"user_agent":{_json_text(fields.user_agent)}'
        )
    return (
        f'{{"time":"{when.decode()}","address":"{address.decode()}",{said},'
        f'"status":{status},"bytes":{sent},"duration_s":{duration_s:.6f},'
        f'"note":{json.dumps(note or None)}}}\n'
    ).encode()


Formatter = Callable[[bytes, bytes, Request | None, bytes, int, int, float, str], bytes]

# In a line that is ready, where a backslash begins an escape; also in a URL within a URL.
_TOKEN = re.compile(rb"((?:[?&]|%3[Ff]|%26)t(?:=|%3[Dd]))(?:(?!%26)[^& \"\\]|\\.)*")


def without_tokens(format_entry: Formatter) -> Formatter:
    """The same with "-" for the token of a signed URL, which is good for whoever reads it.

    A client that comes from one such URL to another tells the first in its Referer.
    """

    def format_hidden(*entry: Any) -> bytes:
        return _TOKEN.sub(rb"\1-", format_entry(*entry))

    return format_hidden


def _bytes_at_once(file: int) -> int:
    """What one write puts down whole, whoever else writes: to pipes little (pipe(7))."""
    return _MOST_BYTES if stat.S_ISREG(os.fstat(file).st_mode) else PIPE_BUF


def _pieces(lines: Sequence[bytes], most_bytes: int) -> Iterator[bytes]:
    """Whole lines joined, up to so many bytes; a line that is longer is by itself."""
    start = size = 0
    for place, line in enumerate(lines):
        if size + len(line) > most_bytes and place > start:
            yield b"".join(lines[start:place])
            start, size = place, 0
        size += len(line)
    yield b"".join(lines[start:])


class AccessLog:
    """Collects lines and has them written. `path` is a file or "-" for standard output."""

    def __init__(
        self, path: str, loop: AbstractEventLoop, report: Callable[[OSError], None]
    ) -> None:
        self.taken = 0  # lines, since the worker last looked
        self.dropped = 0
        self._path = path
        self._file = self._open()
        self._most_bytes = _bytes_at_once(self._file)
        self._lines: list[bytes] = []
        self._in_hand = 0  # lines that the thread has been given and not yet answered for
        self._writer = IoPool(loop, "access log", 1)
        self._report = report
        self._failing = False

    def write(self, line: bytes) -> None:
        """Take a line, with its line end."""
        self._lines.append(line)
        if len(self._lines) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hand what there is to the thread."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        self.taken += len(lines)
        if self._writer.pending >= _MOST_PENDING:
            self.dropped += len(lines)
            return
        self._in_hand += len(lines)
        self._writer.submit(partial(self._write_out, lines), partial(self._written, len(lines)))

    def finish(self) -> None:
        """Have all of it written: the process is about to end."""
        self.flush()
        if not self._writer.finish(_LAST_S):
            self.dropped += self._in_hand
            self._report(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def reopen(self) -> None:
        """Lines from now on go to the file that has the path now (after a rotation)."""
        self.flush()
        self._writer.submit(self._swap, partial(self._written, 0))

    def _open(self) -> int:
        if self._path == "-":
            return os.dup(1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def _swap(self) -> None:
        fresh = self._open()
        os.close(self._file)
        self._file, self._most_bytes = fresh, _bytes_at_once(fresh)

    def _write_out(self, lines: list[bytes]) -> None:
        """Write all; runs in the thread. A full disk loses the batch, which is counted."""
        try:
            for piece in _pieces(lines, self._most_bytes):
                data = memoryview(piece)
                while data:
                    data = data[os.write(self._file, data) :]
        except OSError:
            self.dropped += len(lines)
            raise

    def _written(self, lines: int, outcome: object) -> None:
        """Report the first failure of a row of them."""
        self._in_hand -= lines
        failed = isinstance(outcome, OSError)
        if isinstance(outcome, OSError) and not self._failing:
            self._report(outcome)
        self._failing = failed

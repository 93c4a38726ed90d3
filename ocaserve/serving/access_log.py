"""The access log: lines collected by the event loop, and written in batches by a thread.

The event loop only appends to a list. A thread takes the list once a second, or when it has grown,
and writes it with one call to a file opened for appending, or in pieces to a pipe, so that the
lines of several workers interleave whole. Of a batch that a full disk took in part, only whole
lines stay.

A log that cannot be opened or written costs no client anything: lines are lost and counted, the
process log says it once, with the setting and the path, and again when it is over. It is tried anew
each second. When it cannot be opened anew (USR1), the lines go on into the file of before.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import stat
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

from ocaserve.logs.log_outlet import Put, open_put
from ocaserve.serving.pool import IoPool
from ocaserve.whole_files import can_others_write

_log = logging.getLogger(__name__)

_BATCH_LINES = 2_000  # handed over at once: about 400 kB, a millisecond of writing
_MOST_WAITING_BYTES = 8_388_608  # waiting for the disk; beyond it lines are dropped
_READER_S = 1.0  # for whoever reads a pipe to take some of it
_LAST_S = 5.0  # that the end of the process waits for the disk
_UNREAD = "nobody reads it"
_SLOW = "the disk does not answer"


class WriteOutcome(NamedTuple):
    """What became of a batch. written: lines that were; lost: that were not, by `error`.

    not_renewed: why the file could not be opened anew, where that was wanted. is_open: there is one
    to write to.
    """

    written: int = 0
    lost: int = 0
    error: OSError | None = None
    not_renewed: OSError | None = None
    is_open: bool = True


class LogFile:
    """The file at a path, or standard output for "-". Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1  # not open
        self._put: Put = len
        self._close: Callable[[], object] = bool
        self._is_regular = False
        self._wants_renewal = False
        self._rest = b""  # of what a reader took in part
        self._patience_s = _READER_S

    @property
    def needs_opening(self) -> bool:
        return self._descriptor < 0 or self._wants_renewal

    def renew(self) -> None:
        """Open the file that has the path now; tried with each batch until it can be."""
        self._wants_renewal = self._path != "-"

    def append(self, lines: Sequence[bytes]) -> WriteOutcome:
        """Write lines, each with its end. What fails is told, not raised."""
        not_renewed = None
        if self.needs_opening:
            try:
                self._open()
            except OSError as error:
                if self._descriptor < 0:
                    return WriteOutcome(0, len(lines), error, is_open=False)
                not_renewed = error
        write = self._append_to_file if self._is_regular else self._feed_reader
        written, failure = write(lines)
        return WriteOutcome(written, len(lines) - written, failure, not_renewed)

    def _open(self) -> None:
        """Raises OSError; what is open then stays so."""
        fresh = os.dup(1) if self._path == "-" else _open_for_appending(self._path)
        self.close()
        self._descriptor, self._wants_renewal, self._rest = fresh, False, b""
        self._is_regular = stat.S_ISREG(os.fstat(fresh).st_mode)
        self._put, self._close = open_put(fresh)

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor >= 0:
            self._close()
            os.close(self._descriptor)
            self._descriptor, self._close = -1, bool

    def _append_to_file(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """How many lines were written, and why not all. Half a line is taken back."""
        data = memoryview(text := b"".join(lines))
        taken = 0
        with self._alone():
            try:
                while taken < len(data):
                    taken += os.write(self._descriptor, data[taken:])
            except OSError as error:
                whole = text.rfind(b"\n", 0, taken) + 1
                self._take_back(taken - whole)
                return text.count(b"\n", 0, whole), error
        return len(lines), None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other worker writes meanwhile: it would write behind a half line that is taken back.

        A file system without locks is written to without.
        """
        with suppress(OSError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _take_back(self, size: int) -> None:
        """Cut the last bytes off that we wrote, unless somebody has written behind them."""
        with suppress(OSError):
            end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if size and os.fstat(self._descriptor).st_size == end:
                os.ftruncate(self._descriptor, end - size)
                os.lseek(self._descriptor, end - size, os.SEEK_SET)

    def _feed_reader(self, lines: Sequence[bytes]) -> tuple[int, OSError | None]:
        """How many lines a pipe, socket or terminal has taken, and why not all."""
        written = 0
        failure = self._push_rest()
        for count, piece in _pieces(lines):
            if failure is not None:
                break
            self._rest = piece
            failure = self._push_rest()
            if len(self._rest) == len(piece):
                self._rest = b""
            else:  # of what was begun the rest comes first, next time
                written += count
        return written, failure

    def _push_rest(self) -> OSError | None:
        try:
            while self._rest:
                try:
                    self._rest = self._rest[self._put(self._rest) :]
                except BlockingIOError:
                    self._wait_for_reader()
        except OSError as error:
            return error
        self._patience_s = _READER_S
        return None

    def _wait_for_reader(self) -> None:
        """Raises OSError when he does not read; from then on he is not waited for until he does."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if not poll.poll(self._patience_s * 1_000):
            self._patience_s = 0.0
            raise OSError(errno.ETIMEDOUT, _UNREAD)


def _open_for_appending(path: str) -> int:
    """Without waiting for whoever is to read a pipe. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    if not os.geteuid() and can_others_write(os.path.dirname(path)):
        flags |= os.O_NOFOLLOW  # or its owner could have root write to whatever a link leads to
    try:
        return os.open(path, flags, 0o640)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(error.errno, _UNREAD) from error
        raise


def _pieces(lines: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Whole lines joined, and their number: as many as a pipe takes whole, whoever else writes."""
    start = size = 0
    for place, line in enumerate(lines):
        if size + len(line) > select.PIPE_BUF and place > start:
            yield place - start, b"".join(lines[start:place])
            start, size = place, 0
        size += len(line)
    if lines:
        yield len(lines) - start, b"".join(lines[start:])


class AccessLog:
    """Collects lines and has them written. `path` is a file or "-" for standard output.

    setting: the one that names the path, for what is said of it.
    """

    def __init__(
        self, path: str, loop: AbstractEventLoop, setting: str = "serve.access_log"
    ) -> None:
        self.taken = 0  # lines, since the worker last looked
        self.dropped = 0
        self._name = f"{setting}: {path}"
        self._file = LogFile(path)
        self._lines: list[bytes] = []
        self._in_hand = 0  # lines that the thread has been given and not yet answered for
        self._waiting_bytes = 0  # of them
        self._writer = IoPool(loop, "access log", 1)
        self._lost: int | None = None  # lines, since it failed; None: it does not
        self._fails_open = False  # it fails though it could be opened
        self._is_old = False  # the file of before is written, as the new one cannot be opened
        self._hand_over([])  # what is wrong with it is said at once

    def write(self, line: bytes) -> None:
        """Take a line, with its line end."""
        self._lines.append(line)
        if len(self._lines) >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Hand what there is to the thread; called each second."""
        lines, self._lines = self._lines, []
        self.taken += len(lines)
        if lines and self._waiting_bytes > _MOST_WAITING_BYTES:
            self._account(WriteOutcome(0, len(lines), OSError(errno.ETIMEDOUT, _SLOW)))
        elif lines or (self._file.needs_opening and not self._writer.pending):
            self._hand_over(lines)

    def _hand_over(self, lines: list[bytes]) -> None:
        size = sum(map(len, lines))
        self._in_hand += len(lines)
        self._waiting_bytes += size
        work = partial(self._file.append, lines)
        self._writer.submit(work, partial(self._written, len(lines), size))

    def finish(self) -> None:
        """Have all of it written: the process is about to end."""
        self.flush()
        if not self._writer.finish(_LAST_S):
            self._account(WriteOutcome(0, self._in_hand, OSError(errno.ETIMEDOUT, _SLOW)))

    def reopen(self) -> None:
        """Lines from now on go to the file that has the path now (after a rotation)."""
        self.flush()
        self._writer.submit(self._file.renew, lambda _: None)
        self._hand_over([])

    def _written(self, lines: int, size: int, outcome: object) -> None:
        self._in_hand -= lines
        self._waiting_bytes -= size
        if isinstance(outcome, WriteOutcome):
            self._account(outcome)
        else:  # a defect, which the pool has reported
            self.dropped += lines

    def _account(self, outcome: WriteOutcome) -> None:
        """Count what is lost; say that it fails once, and that it no longer does."""
        self.dropped += outcome.lost
        if outcome.error is not None:
            if self._lost is None:
                self._lost = 0
                _log.error(
                    "%s: %s: lines are lost and counted; tried again each second",
                    self._name, outcome.error.strerror,
                )  # fmt: skip
            self._lost += outcome.lost
            self._fails_open = outcome.is_open
            return
        if self._lost is not None and (outcome.written or not self._fails_open):
            _log.warning("%s: written again, %d lines were lost", self._name, self._lost)
            self._lost = None
        self._account_renewal(outcome.not_renewed)

    def _account_renewal(self, error: OSError | None) -> None:
        if error is not None and not self._is_old:
            _log.error(
                "%s cannot be opened anew: %s: lines go on into the file of before; tried again "
                "each second",
                self._name, error.strerror,
            )  # fmt: skip
        elif error is None and self._is_old:
            _log.warning("%s: opened anew", self._name)
        self._is_old = error is not None

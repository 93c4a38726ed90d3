"""What all connections of a worker share."""

from __future__ import annotations

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ocaserve.ledger.tallies import Tallies
from ocaserve.protocol.admission import Admission
from ocaserve.protocol.dates import format_http_date
from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.access_log import (
    AccessLog,
    Formatter,
    format_combined,
    format_json,
    without_tokens,
)
from ocaserve.serving.catalogue import TICK_S, Catalogue, OpenFile
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.express import Answer, make_answer
from ocaserve.serving.readiness import Readiness
from ocaserve.serving.sending import Sender
from ocaserve.settings import Limits


class Client(Protocol):
    """What a worker holds for each client: a connection, or a handshake that becomes one."""

    address: bytes

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason."""

    def drain(self, now: float) -> None:
        """The worker stops: go soon."""


class Leaving(Protocol):
    """A closed connection with a response for which a thread is busy still."""

    def response_left(self) -> None:
        """Account for the response with what is known of it."""


class Clock:
    """The time of day as text, made once for all responses of a quarter of a second."""

    def __init__(self, log_format: str) -> None:
        self._log_format = log_format
        self.epoch = 0
        self.http_date = b""
        self.log_time = b""
        self.update(time.time())

    def update(self, now: float) -> None:
        """`now`: seconds since the epoch."""
        epoch = int(now)
        if epoch == self.epoch:
            return
        self.epoch = epoch
        self.http_date = format_http_date(epoch)
        if self._log_format == "json":
            self.log_time = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch)).encode()
        else:
            self.log_time = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(epoch)).encode()


@dataclass(slots=True)
class Duty:
    """What the control process says of the whole appliance; until it does, that it serves.

    turns_away: a drain is past its deadline, and new requests are refused.
    """

    word: bytes = b"serving"
    is_fit: bool = True
    turns_away: bool = False


@dataclass(slots=True)
class Services:
    """One worker's means. `counts` is its slot of the shared map."""

    loop: AbstractEventLoop
    limits: Limits
    policy: ResponsePolicy
    parser: HeadParser
    admission: Admission
    catalogue: Catalogue
    sender: Sender
    readiness: Readiness
    wheel: DeadlineWheel
    clock: Clock
    counts: memoryview
    tallies: Tallies
    log: AccessLog | None
    format_entry: Formatter
    step_bytes: int
    large_buffer_bytes: int  # of sockets of fast clients; 0: none gets one
    cold_pages: str
    boundary: bytes  # of multipart answers: random, so that no content can hold it
    on_close: Callable[[Client], None]
    on_store_error: Callable[[OSError], None]
    speedtest: OpenFile | None = None  # its content, if it is offered
    leaving: set[Leaving] = field(default_factory=set)
    draining: bool = False
    duty: Duty = field(default_factory=Duty)
    drain_idle_s: float = field(default=1.0)
    idle_deadline: float = field(init=False)  # of connections that become idle in this tick
    answer: Answer = field(init=False)  # the short way, see `express`

    def __post_init__(self) -> None:
        self.update_deadline(time.monotonic())
        self.answer, settle = make_answer(self)
        self.readiness.call_after_batches(settle)

    def update_deadline(self, now: float) -> None:
        """Called with each tick of the worker."""
        self.idle_deadline = now + TICK_S + self.limits.idle_s


def entry_formatter(log_format: str, *, hides_tokens: bool) -> Formatter:
    """The function that writes a line of the access log in this format."""
    format_entry = format_json if log_format == "json" else format_combined
    return without_tokens(format_entry) if hides_tokens else format_entry

"""What all connections of a worker share: what each part needs is a record of its own."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ocaserve.protocol.head import HeadParser
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.access_log import AccessLog
from ocaserve.serving.accounts import Accounts
from ocaserve.serving.answerer import Answerer, ShortWay, Way
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.containment import Containing, Containment
from ocaserve.serving.counters import Count
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.incoming import Bodies
from ocaserve.serving.outlet import OutletParts
from ocaserve.serving.readiness import Readiness
from ocaserve.serving.stance import Stance
from ocaserve.serving.transfer import TransferTerms
from ocaserve.serving.turns import Rounds
from ocaserve.serving.wall_clock import Clock
from ocaserve.settings import Limits


class Client(Containing, Protocol):
    """What a worker holds for each client: a connection, or a handshake that becomes one."""

    address: bytes

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason."""

    def drain(self, now: float) -> None:
        """The worker stops: go soon."""


class Leaving(Containing, Protocol):
    """The response of a closed connection for which a thread is busy still."""

    def response_left(self) -> None:
        """Account for the response with what is known of it."""


@dataclass(slots=True)
class Engine:
    """One worker's means. `counts` is its slot of the shared map.

    on_close: told each client that has gone. leaving: see there. logs: which the worker has
    written, opens anew and ends; the access log, and those of the answerer.
    """

    loop: AbstractEventLoop
    limits: Limits
    policy: ResponsePolicy
    parser: HeadParser
    clock: Clock
    counts: memoryview
    containment: Containment
    stance: Stance
    readiness: Readiness
    wheel: DeadlineWheel
    accounts: Accounts
    outlets: OutletParts
    terms: TransferTerms
    on_close: Callable[[Client], None]
    bodies: Bodies = field(default_factory=Bodies)
    leaving: set[Leaving] = field(default_factory=set)
    logs: list[AccessLog] = field(default_factory=list)
    rounds: Rounds = field(init=False)
    answerer: Answerer = field(init=False)
    short_ways: dict[int, ShortWay | None] = field(init=False)  # by the place of an outlet's kind

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.loop)
        self.logs += [self.accounts.log] if self.accounts.log is not None else []
        self.readiness.call_after_batches(self.accounts.settle)

    def ask(self, answerer: Answerer) -> None:
        """Have all requests answered by this one. To be called once, before the first client."""
        self.answerer = answerer
        whole = self.terms.step_bytes
        self.short_ways = {
            int(place): answerer.short_way(self._way(int(place), whole, most_bytes))
            for place, most_bytes in (
                (Count.BYTES_SENDFILE_HOT, 1 << 62),
                (Count.BYTES_KTLS, 1 << 62),
                (Count.BYTES_COPIED, whole),
            )
        }

    def _way(self, place: int, step_bytes: int, most_bytes: int) -> Way:
        return Way(
            self.parser.recall, self.parser.recall_whole, self.clock, self.counts, self.wheel,
            self.stance, self.accounts.batch(place), self.limits.requests_per_connection - 1,
            step_bytes, most_bytes,
        )  # fmt: skip

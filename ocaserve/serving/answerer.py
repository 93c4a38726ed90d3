"""The seam between the engine and whoever decides what is answered.

The engine accepts clients, reads heads and bodies, keeps deadlines and limits, speaks TLS, sends,
counts and logs. It asks an `Answerer` for the rest, and knows nothing of what that answers from.
The content of an appliance is one (`stored_content`), `/healthz` and the speed test stand before it
(`healthz`, `speed_test`), and `replies` makes one of a single function.

An answerer is asked on the event loop and must not wait there. What takes time it begins, says so
with `PendingRequest.wait`, and replies later.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from ocaserve.ledger.tallies import Tally
from ocaserve.protocol.connection_states import State
from ocaserve.protocol.head import PlainRequest, WholeRequest
from ocaserve.protocol.messages import Request, RequestRefused, ResponsePlan
from ocaserve.serving.accounts import Batch
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.containment import Containing
from ocaserve.serving.deadlines import DeadlineWheel
from ocaserve.serving.source import Source
from ocaserve.serving.stance import Stance
from ocaserve.serving.wall_clock import Clock

Forget = Callable[[], object]


class WantedBody(NamedTuple):
    """A body that may be sent. is_kept: it is given to `answer`; else it is thrown away."""

    most_bytes: int
    is_kept: bool


class PendingRequest(Containing, Protocol):
    """One request, to who answers it: with one of the methods, once.

    body: what was kept of it. address: the client's, as the log shows it.
    """

    body: bytes
    address: bytes

    @property
    def request(self) -> Request: ...

    def reply(
        self,
        plan: ResponsePlan,
        source: Source | None = None,
        again: Callable[[], None] | None = None,
    ) -> None:
        """Send this. source: what the ranges of the plan are of.

        again: called where the source cannot be read and the client got nothing yet; it is to
        answer anew. Without it the connection ends.
        """

    def refuse(self, refusal: RequestRefused, reason: CloseReason = CloseReason.REFUSED) -> None:
        """Answer with an error. reason: why the connection ends, if the refusal has it end."""

    def wait(self, forget: Forget, reason: CloseReason) -> None:
        """The answer comes later, from the event loop.

        forget: called when nobody waits any more, and then no answer may come. reason: why, where
        it has not come within `stall_s`: the client is answered with 503 then.
        """


class Whole(Protocol):
    """An outlet; see there."""

    @property
    def send_whole(self) -> Callable[[bytes, int, int, int], int]: ...

    @property
    def write_whole(self) -> Callable[[bytes], int]: ...


class Idle(Containing, Protocol):
    """A connection that waits for a request, and has nothing of one."""

    address: bytes
    deadline: float
    watched: float
    tally: Tally
    requests: int
    state: State

    @property
    def outlet(self) -> Whole: ...

    def expire(self, now: float) -> None: ...

    def take_over(
        self, request: Request, plan: ResponsePlan, source: Source | None, taken: int, began: float
    ) -> None:
        """The socket took so many bytes of the response, and no more now: send the rest."""


class Way(NamedTuple):
    """What a short way of an outlet's kind is made with.

    recall, recall_whole: of a head, if all of it is known; of a head and the body that came with it
    (`HeadParser`). batch: for what was sent.
    most_requests: on a connection; the long way says that the next is the last. step_bytes: that
    are sent in one call. most_bytes: of a response; longer ones take the long way.
    """

    recall: Callable[[bytes], PlainRequest | None]
    recall_whole: Callable[[bytes], WholeRequest | None]
    clock: Clock
    counts: memoryview
    wheel: DeadlineWheel
    stance: Stance
    batch: Batch
    most_requests: int
    step_bytes: int
    most_bytes: int

    def of_what_repeats(self) -> Way:
        """For who stands behind another answerer, which must see first what may be its own."""
        return self._replace(recall_whole=lambda _: None)


ShortWay = Callable[[Idle, bytes], bool]
"""(connection, data): `data` is what was received. Returns whether it was a plain request that has
been dealt with; if not, nothing was done."""


class Answerer(Protocol):
    """Decides what is answered, for all connections of a worker."""

    def start(self, ready: Callable[[], None]) -> None:
        """Begin; `ready` is called when clients may come."""

    def tick_once(self) -> None:
        """A quarter of a second has passed."""

    def want_body(self, pending: PendingRequest) -> WantedBody | None:
        """The request has a body: which one may be sent. None: it was answered without.

        Raises RequestRefused; the connection ends then, so that nothing in the body can be taken
        for a request.
        """

    def answer(self, pending: PendingRequest) -> None:
        """The request is whole, with its body: answer it, now or later. Raises RequestRefused."""

    def short_way(self, way: Way) -> ShortWay | None:
        """A function that answers plain requests by itself; None: there is none."""

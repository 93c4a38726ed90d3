"""What every engine promises.

1. At least once: a message that was pushed is delivered until somebody acks it, also over crashes
   of producers, consumers and engine, as far as the engine keeps what it has taken.
2. A delivery is its consumer's for `hold_s`. Then, or when it is released, it is delivered again;
   after `max_tries` deliveries it is buried, with the reason.
3. A receipt is good for its own delivery alone, so a late consumer cannot ack another's.
4. Of the due messages of a shard those of the lowest priority number come first, and of equal ones
   that which has been due for longest. A delayed message is never early, by the engine's clock.
5. What is asked of several messages at once is done for all of them or, where a message is refused,
   said for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ocaserve.queue.model import Acked, Delivery, Kept, Message, Refused, Sizes
from ocaserve.queue.states import MessageState


class Queues(Protocol):
    """All queues of one engine. A queue is there from its first message on.

    Every method may raise QueueUnavailableError.
    """

    async def names(self) -> list[str]:
        """Queues that were ever pushed to, in order."""

    async def push(self, queue: str, messages: Sequence[Message]) -> list[str]:
        """Their names. Raises MessageThereError, MessageTooLongError, QueueFullError."""

    async def ensure(self, queue: str, messages: Sequence[Message]) -> list[str]:
        """Push those that are not there; their names. For who pushes again after a doubt."""

    async def pop(
        self, queue: str, n: int = 1, *, wait_s: float = 0.0, hold_s: float = 60.0
    ) -> list[Delivery]:
        """Up to `n` that are due; waits until there is one, `wait_s` at most."""

    async def ack(self, queue: str, receipts: Sequence[str]) -> Acked:
        """They are done, and gone."""

    async def extend(self, queue: str, receipt: str, hold_s: float) -> Refused | None:
        """Hold it for so long from now on."""

    async def release(
        self, queue: str, receipt: str, *, delay_s: float = 0.0, reason: str = ""
    ) -> Refused | None:
        """Give it back; it is buried with `reason` if its tries are used up."""

    async def bury(self, queue: str, receipt: str, reason: str) -> Refused | None:
        """Put it aside until somebody kicks or removes it."""

    async def kick(self, queue: str, n: int) -> int:
        """Make buried ones ready, the oldest first, with all their tries; how many."""

    async def kick_one(self, queue: str, message_id: str) -> None:
        """The same for one, buried or delayed. Raises UnknownMessageError, MessageStateError."""

    async def retime(self, queue: str, message_id: str, delay_s: float) -> None:
        """Have a ready or delayed one due then. Raises UnknownMessageError, MessageStateError."""

    async def remove(self, queue: str, message_id: str) -> None:
        """It is gone, whatever its state. Raises UnknownMessageError."""

    async def peek(self, queue: str, state: MessageState, n: int = 1) -> list[Kept]:
        """The first of a state, in the order in which they leave it. Changes nothing."""

    async def sizes(self, queue: str) -> Sizes:
        """How many there are of each state."""

    async def close(self) -> None:
        """Let go of the engine."""

"""What is said between who decides and the process that runs policies: a length and a record each.

Questions are answered one after the other, in their order.
"""

from __future__ import annotations

import struct
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

LENGTH = struct.Struct("!I")
MOST_BYTES = 1 << 22  # of a record; a bundle of all bytes that are allowed has a tenth


class LoadProgram(Struct, frozen=True, tag="load"):
    """Make a bundle ready to be asked. Answered by ProgramDone."""

    name: str
    files: dict[str, str]


class DropProgram(Struct, frozen=True, tag="drop"):
    """Forget a version. Not answered."""

    version: str


class AskRule(Struct, frozen=True, tag="rule"):
    """admit and weight, of each server. Answered by ProgramRuled.

    Facts are as `questions.pick` has them.
    """

    version: str
    client: dict[str, Any]
    servers: list[dict[str, Any]]
    object: dict[str, Any]


class AskOrder(Struct, frozen=True, tag="order"):
    """Who is the first of these? Answered by ProgramOrdered."""

    version: str
    client: dict[str, Any]
    servers: list[dict[str, Any]]


class ExamineProgram(Struct, frozen=True, tag="examine"):
    """Parse a bundle, lint it, load it, and run its tests. Answered by ProgramExamined."""

    name: str
    files: dict[str, str]


class ProgramDone(Struct, frozen=True, tag="done"):
    pass


class ProgramRuled(Struct, frozen=True, tag="ruled"):
    """By server: why it is not admitted; what its share is multiplied by, where that is not 1.

    cpu_s: what it took.
    """

    refused: dict[str, str]
    weights: dict[str, float]
    cpu_s: float


class ProgramOrdered(Struct, frozen=True, tag="ordered"):
    """All ids, the best first."""

    order: list[str]
    cpu_s: float


class ProgramExamined(Struct, frozen=True, tag="examined"):
    """faults: what forbids it, each with its place. tests: how many passed."""

    faults: list[str]
    tests: int


class ProgramFailed(Struct, frozen=True, tag="failed"):
    """In place of any answer. why: with the line of the program. is_overrun: it took too long.

    is_lost: and its process was lost with it.
    """

    why: str
    is_overrun: bool = False
    is_lost: bool = False


Ask: TypeAlias = LoadProgram | DropProgram | AskRule | AskOrder | ExamineProgram
Answer: TypeAlias = ProgramDone | ProgramRuled | ProgramOrdered | ProgramExamined | ProgramFailed

_encoder = msgspec.msgpack.Encoder()
_asks: msgspec.msgpack.Decoder[Ask] = msgspec.msgpack.Decoder(Ask)
_answers: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def frame(record: Ask | Answer) -> bytes:
    """With its length. Raises ValueError where it is too long."""
    data = _encoder.encode(record)
    if len(data) > MOST_BYTES:
        raise ValueError(f"a record of {len(data):,} bytes: at most {MOST_BYTES:,} are sent")
    return LENGTH.pack(len(data)) + data


def read_ask(data: bytes) -> Ask:
    """Raises msgspec.MsgspecError."""
    return _asks.decode(data)


def read_answer(data: bytes) -> Answer:
    """Raises msgspec.MsgspecError."""
    return _answers.decode(data)

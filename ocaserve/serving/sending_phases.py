"""The stages of sending a response, as a table that refuses what it does not list.

  IDLE -- BEGIN --> FIRST_STEP -- END --> IDLE               (nearly all end in their first step)
                        |
                        | GO_ON            FULL              (it spans turns of the event loop:
                        v                                     its file is held, its pace watched)
                     SENDING ----------> FOR_SOCKET
                      |  ^                  |
      COLD or VERIFY  v  | BACK, WITHDRAW   | COLD or VERIFY
                 FOR_DISK, VERIFYING <------+
                      |
                      | LEAVE
                      v
                   LEAVING -- BACK --> ABANDONED <-- LEAVE -- (all others)

FIRST_STEP goes to FOR_SOCKET and FOR_DISK too. SENDING: the next step is made after the others had
their turn. FOR_SOCKET: it is made when the socket takes bytes; the writer is registered in this
phase alone, and stays until the response ends or waits for something else. FOR_DISK: a thread
reads, and may be sending. VERIFYING: a thread looks whether the file was overwritten. WITHDRAW: no
thread has begun. LEAVING: the connection is over, and the thread is not back, so the socket must
not be closed yet. ABANDONED: it is closed.
"""

from __future__ import annotations

from enum import Enum


class SendingPhase(Enum):
    IDLE = "idle"
    FIRST_STEP = "in its first step"
    SENDING = "sending"
    FOR_SOCKET = "waiting for the socket"
    FOR_DISK = "waiting for the disk"
    VERIFYING = "verifying"
    LEAVING = "leaving"
    ABANDONED = "abandoned"

    __hash__ = object.__hash__  # members are single: identity will do, and needs no Python code


class SendingMove(Enum):
    BEGIN = "begin"
    GO_ON = "go on"
    FULL = "full"  # the socket takes no more now
    COLD = "cold"  # the next bytes are not in memory
    VERIFY = "verify"
    BACK = "back"  # the thread is
    WITHDRAW = "withdraw"  # no thread had begun
    END = "end"
    LEAVE = "leave"

    __hash__ = object.__hash__


MOVES: dict[tuple[SendingPhase, SendingMove], SendingPhase] = {
    (SendingPhase.IDLE, SendingMove.BEGIN): SendingPhase.FIRST_STEP,
    (SendingPhase.FIRST_STEP, SendingMove.GO_ON): SendingPhase.SENDING,
    (SendingPhase.SENDING, SendingMove.GO_ON): SendingPhase.SENDING,
    (
        SendingPhase.FOR_SOCKET,
        SendingMove.GO_ON,
    ): SendingPhase.FOR_SOCKET,  # it may take more: its readiness tells
    (SendingPhase.FIRST_STEP, SendingMove.FULL): SendingPhase.FOR_SOCKET,
    (SendingPhase.SENDING, SendingMove.FULL): SendingPhase.FOR_SOCKET,
    (SendingPhase.FOR_SOCKET, SendingMove.FULL): SendingPhase.FOR_SOCKET,
    (SendingPhase.FIRST_STEP, SendingMove.COLD): SendingPhase.FOR_DISK,
    (SendingPhase.SENDING, SendingMove.COLD): SendingPhase.FOR_DISK,
    (SendingPhase.FOR_SOCKET, SendingMove.COLD): SendingPhase.FOR_DISK,
    (SendingPhase.SENDING, SendingMove.VERIFY): SendingPhase.VERIFYING,
    (SendingPhase.FOR_SOCKET, SendingMove.VERIFY): SendingPhase.VERIFYING,
    (SendingPhase.FOR_DISK, SendingMove.BACK): SendingPhase.SENDING,
    (SendingPhase.VERIFYING, SendingMove.BACK): SendingPhase.SENDING,
    (SendingPhase.LEAVING, SendingMove.BACK): SendingPhase.ABANDONED,
    (SendingPhase.FOR_DISK, SendingMove.WITHDRAW): SendingPhase.SENDING,
    (SendingPhase.VERIFYING, SendingMove.WITHDRAW): SendingPhase.SENDING,
    (SendingPhase.FIRST_STEP, SendingMove.END): SendingPhase.IDLE,
    (SendingPhase.SENDING, SendingMove.END): SendingPhase.IDLE,
    (SendingPhase.FOR_SOCKET, SendingMove.END): SendingPhase.IDLE,
    (SendingPhase.IDLE, SendingMove.LEAVE): SendingPhase.ABANDONED,
    (SendingPhase.FIRST_STEP, SendingMove.LEAVE): SendingPhase.ABANDONED,
    (SendingPhase.SENDING, SendingMove.LEAVE): SendingPhase.ABANDONED,
    (SendingPhase.FOR_SOCKET, SendingMove.LEAVE): SendingPhase.ABANDONED,
    (SendingPhase.FOR_DISK, SendingMove.LEAVE): SendingPhase.LEAVING,
    (SendingPhase.VERIFYING, SendingMove.LEAVE): SendingPhase.LEAVING,
}

IN_THREAD = frozenset({SendingPhase.FOR_DISK, SendingPhase.VERIFYING, SendingPhase.LEAVING})
SPANNING = IN_THREAD | {SendingPhase.SENDING, SendingPhase.FOR_SOCKET}
"""In these a response spans turns of the event loop."""


class ImpossibleMoveError(Exception):
    """The move cannot be made in this phase: a defect of the caller."""


def next_phase(phase: SendingPhase, move: SendingMove) -> SendingPhase:
    """The phase after `move`. Raises ImpossibleMoveError where the table lists none."""
    try:
        return MOVES[phase, move]
    except KeyError:
        raise ImpossibleMoveError(f"{move.value} while {phase.value}") from None

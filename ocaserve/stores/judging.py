"""A store's states as a worker keeps them, as a table that refuses; and the judgement. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ocaserve.stores.trial import Trial


class StoreState(Enum):
    """`value`: what the shared gauge shows."""

    UNSEEN = 0  # the first look is not over: look-ups wait for it
    SERVING = 1
    DOUBTED = 2  # an object could not be read: some others are being tried
    FAILED = 3  # it is not asked, and looked at again and again


class StoreEvent(Enum):
    DOUBT = "an object could not be read"
    GOOD = "the folder and most of what was tried can be read"
    BAD = "the folder or most of what was tried cannot be read"


STORE_STATES: Mapping[tuple[StoreState, StoreEvent], StoreState] = {
    (StoreState.UNSEEN, StoreEvent.GOOD): StoreState.SERVING,
    (StoreState.UNSEEN, StoreEvent.BAD): StoreState.FAILED,
    (StoreState.SERVING, StoreEvent.DOUBT): StoreState.DOUBTED,
    (StoreState.SERVING, StoreEvent.GOOD): StoreState.SERVING,
    (StoreState.SERVING, StoreEvent.BAD): StoreState.FAILED,
    (StoreState.DOUBTED, StoreEvent.DOUBT): StoreState.DOUBTED,
    (StoreState.DOUBTED, StoreEvent.GOOD): StoreState.SERVING,
    (StoreState.DOUBTED, StoreEvent.BAD): StoreState.FAILED,
    (StoreState.FAILED, StoreEvent.DOUBT): StoreState.FAILED,  # by a response that began before
    (StoreState.FAILED, StoreEvent.GOOD): StoreState.SERVING,
    (StoreState.FAILED, StoreEvent.BAD): StoreState.FAILED,
}


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at a store found.

    error: why the folder cannot be read. trial: None when no object was tried.
    """

    error: OSError | None = None
    trial: Trial | None = None


def judge_look(look: Look, failing_share: float) -> tuple[StoreEvent, str]:
    """What happened to the store, and why where it is bad."""
    if look.error is not None:
        return StoreEvent.BAD, look.error.strerror or str(look.error)
    trial = look.trial
    if trial is None or not trial.fails(failing_share):
        return StoreEvent.GOOD, ""
    assert trial.error is not None, "what cannot be read has a reason"
    why = trial.error.strerror or str(trial.error)
    return StoreEvent.BAD, f"{why}: {trial.unreadable} of {trial.tried} objects cannot be read"

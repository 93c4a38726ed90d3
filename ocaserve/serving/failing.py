"""Stores that fail and come back: looks at each of them, and what follows from a look.

Each store is looked at twice a second: whether its path leads to the folder that is held, and can
be listed. A folder that was replaced, or that a disk was mounted over, is taken. When an object
can't be read, some others are tried, so that a bad file is told from a bad disk (`stores.trial`). A
failed store is looked at again, soon at first and then ever more rarely, until it is good: a
moment's failure costs its clients a moment. One whose folder does not answer is
failed too: who asks for what only it may have hears 503 at once, and need not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

from ocaserve.serving.pool import JobError
from ocaserve.serving.store import Ground, Store
from ocaserve.stores.answers import EXHAUSTED
from ocaserve.stores.folder import Folder, look_at_folder
from ocaserve.stores.judging import Look, StoreEvent, StoreState, judge_look
from ocaserve.stores.trial import Trial, try_objects

_TICKS_PER_S = 4
_LOOK_TICKS = 2  # between two looks at a store that serves, or has just failed
_MOST_DOUBLINGS = 16  # of the pause: more than the longest `serve.store_retry_s` needs
_STALL_S = 10.0  # for a look, which reads a folder: at `health.store_stall_error_s` by default
_STALL_TICKS = int(_STALL_S * _TICKS_PER_S)
_TRIAL_TICKS = 4  # between two trials of one in doubt: each reads from a disk that has work to do


@dataclass(frozen=True, slots=True)
class StorePatience:
    """The settings: see `serve.store_failing_share` and its neighbours."""

    failing_share: float = 0.5
    objects: int = 16
    retry_ticks: int = 8


class StoreChange(Enum):
    """What a look has changed."""

    OPENED = "serving from it"  # by the first look
    FAILED = "failed"
    BACK = "readable again"
    REPLACED = "serving from another folder, which is there now"


Notify = Callable[[Store, StoreChange], None]


class StoreKeeper:
    """Looks at the stores, and tells `notify` what has changed."""

    def __init__(self, stores: Sequence[Store], patience: StorePatience, notify: Notify) -> None:
        self._stores = stores
        self._patience = patience
        self._notify = notify

    def tick_once(self, tick: int) -> None:
        """Begin what is due, except where the last one is not over."""
        for store in self._stores:
            if store.looks.pending:
                if store.can_be_asked and tick - store.looked >= _STALL_TICKS:
                    self._happen(store, StoreEvent.BAD, f"no answer for {_STALL_S:.0f} s")
            elif tick - store.looked >= self._pause(store):
                self.look(store, tick)
            if store.state is StoreState.DOUBTED and tick - store.tried >= _TRIAL_TICKS:
                self._try(store, tick)

    def _pause(self, store: Store) -> int:
        """Ticks from a look at the store to the next."""
        if store.can_be_asked:
            return _LOOK_TICKS
        doublings = min(max(store.failures - 1, 0), _MOST_DOUBLINGS)
        return min(_LOOK_TICKS << doublings, self._patience.retry_ticks)

    def look(self, store: Store, tick: int, then: Callable[[], None] | None = None) -> None:
        """Have a thread look at the store; `then` is called when it has."""
        store.looked = tick
        store.looks.submit(
            partial(look_at, store.path, store.folder), partial(self._looked, store, tick, then)
        )

    def _looked(
        self, store: Store, tick: int, then: Callable[[], None] | None, outcome: object
    ) -> None:
        if not says_nothing(outcome):
            assert isinstance(outcome, Ground | OSError | None), "one or the other"
            self._judge(store, tick, outcome)
        if then is not None:
            then()

    def _judge(self, store: Store, tick: int, outcome: Ground | OSError | None) -> None:
        """A failed store whose folder can be read is back when its objects can."""
        was_held = store.folder is not None
        if isinstance(outcome, Ground):
            store.take(outcome)
        if isinstance(outcome, OSError):
            self._happen(store, *judge_look(Look(outcome), self._patience.failing_share))
        elif not was_held:
            self._happen(store, *judge_look(Look(), self._patience.failing_share))
        elif store.state is StoreState.FAILED:
            self._try(store, tick)
        if isinstance(outcome, Ground) and was_held and store.can_be_asked:
            self._notify(store, StoreChange.REPLACED)

    def _try(self, store: Store, tick: int) -> None:
        """Have a thread read some objects. One of them may hang, and holds nobody else up."""
        if store.trials.pending:
            return
        store.tried = tick
        store.trials.submit(
            partial(try_objects, store.path, self._patience.objects), partial(self._tried, store)
        )

    def _tried(self, store: Store, outcome: object) -> None:
        if says_nothing(outcome):
            return
        assert isinstance(outcome, Trial | OSError), "one or the other"
        look = Look(outcome) if isinstance(outcome, OSError) else Look(trial=outcome)
        self._happen(store, *judge_look(look, self._patience.failing_share))

    def _happen(self, store: Store, event: StoreEvent, why: str) -> None:
        is_first = store.state is StoreState.UNSEEN
        has_changed = store.happen(event, why)
        if is_first and store.can_be_asked:
            self._notify(store, StoreChange.OPENED)
        elif has_changed:
            back = store.can_be_asked
            self._notify(store, StoreChange.BACK if back else StoreChange.FAILED)


def says_nothing(outcome: object) -> bool:
    """Of the store: a defect, or what the machine lacks. It is looked at again."""
    is_exhausted = isinstance(outcome, OSError) and outcome.errno in EXHAUSTED
    return is_exhausted or isinstance(outcome, JobError)


def look_at(path: str, held: Folder | None) -> Ground | None:
    """The ground of the folder at the path, if it is another than is held; for a thread.

    Raises OSError when it cannot be read.
    """
    folder = look_at_folder(path, None if held is None else held.identity)
    return None if folder is None else Ground.of(folder)

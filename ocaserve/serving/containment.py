"""What keeps a defect where it is: no exception of one client or duty ever reaches another's work.

Whoever calls many, one after the other, catches what a single one raises and has that one
`contain` it: the batches of `readiness`, the buckets of `deadlines`, the turns of handshakes. What
a client hands to others to be called later (look-ups, threads, the event loop) is `contained`. A
`try` costs nothing until something is raised. What belongs to no client goes through `run`, or ends
in `on_loop_exception`.

A defect that is met again and again must not fill the disk: each kind of it has its traceback once,
then a line a minute with a number.
"""

from __future__ import annotations

import logging
import ssl
import sys
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import update_wrapper
from time import monotonic
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import Count

_log = logging.getLogger(__name__)

_AGAIN_S = 60.0
_KINDS = 64  # kept apart; all beyond are one kind more
_TEXT = 300  # characters of a defect's own words: they may repeat what a client sent
_DEFECTS = int(Count.DEFECTS)

_P = ParamSpec("_P")


class Closable(Protocol):
    """A client of the worker, in whatever stage."""

    def close(self, reason: CloseReason) -> None:
        """End it now, for this reason; its socket is closed even if this raises."""


class Containing(Protocol):
    """What is called among others."""

    def contain(self, defect: Exception, /) -> None:
        """It has raised this: end it. Raises nothing."""


_Self = TypeVar("_Self", bound=Containing)
_Client = TypeVar("_Client", bound=Containing)


def contained(
    method: Callable[Concatenate[_Self, _P], object],
) -> Callable[Concatenate[_Self, _P], None]:
    """For a method that others are given to call: what it raises is its own object's end."""

    def run(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as defect:  # noqa: BLE001 - the border between clients
            self.contain(defect)

    update_wrapper(run, method)
    return run


def each(clients: Iterable[_Client], act: Callable[[_Client], object]) -> None:
    """Have each of them do the same, whatever becomes of the others."""
    for client in clients:
        try:
            act(client)
        except Exception as defect:  # noqa: BLE001 - the border between clients
            client.contain(defect)


@dataclass(slots=True)
class _Kind:
    """Defects that were raised at one line of the code."""

    due: float  # when they may be told again
    untold: int = 0


class Containment:
    """Ends what has failed, counts it, and says so within bounds. `counts`: the worker's slot."""

    def __init__(self, counts: memoryview, clock: Callable[[], float] = monotonic) -> None:
        self._counts = counts
        self._clock = clock
        self._kinds: dict[object, _Kind] = {}

    def end(self, client: Closable, defect: Exception) -> None:
        """Close the client that has met a defect. Raises nothing."""
        self.note(defect)
        try:
            client.close(CloseReason.INTERNAL)
        except Exception as another:  # noqa: BLE001 - its socket is closed all the same
            self.note(another)

    def run(self, duty: Callable[[], object]) -> None:
        """Do what belongs to no client. Raises nothing."""
        try:
            duty()
        except Exception as defect:  # noqa: BLE001 - the border between duties
            self.note(defect)

    def note(self, defect: BaseException) -> None:
        """Count a defect; log it, unless its kind was logged not long ago."""
        self._counts[_DEFECTS] += 1
        now = self._clock()
        place = _place_of(defect)
        kind = self._kinds.get(place)
        if kind is None and len(self._kinds) >= _KINDS:
            place = "elsewhere"
            kind = self._kinds.get(place)
        if kind is None:
            self._kinds[place] = _Kind(now + _AGAIN_S)
            _log.error(
                "a defect of the program: what met it was ended, and nothing else",
                exc_info=_within_bounds(defect),
            )
            return
        kind.untold += 1
        if now >= kind.due:
            _log.error("a defect, met %d times more: %s", kind.untold, _describe(defect))
            kind.due, kind.untold = now + _AGAIN_S, 0

    # -- what no code of ours can catch ----------------------------------------------------------

    def on_loop_exception(self, _: AbstractEventLoop, context: dict[str, Any]) -> None:
        """For `loop.set_exception_handler`."""
        defect = context.get("exception")
        self.note(defect if defect is not None else RuntimeError(context["message"]))

    def on_unraisable(self, fact: sys.UnraisableHookArgs, /) -> None:
        """For `sys.unraisablehook`: what callbacks of OpenSSL and destructors raise.

        A name that is not ASCII (SNI) fails in the ssl module before it comes to us. The handshake
        ends there, and is counted as one that failed.
        """
        defect = fact.exc_value
        if isinstance(defect, UnicodeDecodeError) and isinstance(fact.object, ssl.SSLContext):
            return
        if defect is not None:
            self.note(defect)


class Defect(Exception):  # noqa: N818 - stands for another in its traceback
    """One whose own words are not fit for the log."""


def _within_bounds(defect: BaseException) -> BaseException:
    """The defect, unless its words would make a long line of the log, or begin a new one."""
    text = str(defect)
    if len(text) <= _TEXT and text.isprintable():
        return defect
    return Defect(_describe(defect)).with_traceback(defect.__traceback__)


def _describe(defect: BaseException) -> str:
    text = ascii(str(defect))[1:-1]
    if len(text) > _TEXT:
        text = f"{text[:_TEXT]}... ({len(text)} characters)"
    return f"{type(defect).__name__}: {text}"


def _place_of(defect: BaseException) -> object:
    """The line of code that raised it, and its type."""
    frame = defect.__traceback__
    if frame is None:
        return type(defect)
    while frame.tb_next is not None:
        frame = frame.tb_next
    return type(defect), frame.tb_frame.f_code.co_filename, frame.tb_lineno

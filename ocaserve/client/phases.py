"""The life of a download that follows, as a table that refuses what it does not list."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class FollowState(Enum):
    """What is being done now."""

    CHOOSING = "choosing"  # who is next, and whether anybody can be
    ASKING = "asking"  # for a list of URLs
    OPENING = "opening"  # a server was asked; its answer has not begun
    RECEIVING = "receiving"
    DONE = "done"
    GIVEN_UP = "given up"


class FollowEvent(Enum):
    """What happens to it."""

    ASK = "ask"
    TOLD = "told"  # a list has come
    NOT_TOLD = "not told"  # it has not
    CHOSEN = "chosen"
    OPENED = "opened"  # the head of an answer has come, and is right
    LEFT = "left"  # the server failed, or is too slow
    SPAN_ENDED = "span ended"  # all that was asked for has come
    WHOLE = "whole"  # nothing is left to be asked for
    HOPELESS = "hopeless"


STATES: Mapping[tuple[FollowState, FollowEvent], FollowState] = {
    (FollowState.CHOOSING, FollowEvent.ASK): FollowState.ASKING,
    (FollowState.CHOOSING, FollowEvent.CHOSEN): FollowState.OPENING,
    (FollowState.CHOOSING, FollowEvent.WHOLE): FollowState.DONE,
    (FollowState.CHOOSING, FollowEvent.HOPELESS): FollowState.GIVEN_UP,
    (FollowState.ASKING, FollowEvent.TOLD): FollowState.CHOOSING,
    (FollowState.ASKING, FollowEvent.NOT_TOLD): FollowState.CHOOSING,
    (FollowState.OPENING, FollowEvent.OPENED): FollowState.RECEIVING,
    (FollowState.OPENING, FollowEvent.LEFT): FollowState.CHOOSING,
    (FollowState.RECEIVING, FollowEvent.LEFT): FollowState.CHOOSING,
    (FollowState.RECEIVING, FollowEvent.SPAN_ENDED): FollowState.CHOOSING,
}

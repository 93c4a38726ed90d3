"""The life of a release of policies, as one table that refuses."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class PolicyState(Enum):
    """The value is the word shown."""

    DRAFT = "draft"
    CHECKED = "checked"
    SHADOW = "shadow"  # asked beside what is in force; the differences are listed
    CANARY = "canary"  # in force for a part of the clients, which is judged against the rest
    LIVE = "live"
    RETIRED = "retired"  # another has taken its place
    ROLLED_BACK = "rolled back"


class PolicyEvent(Enum):
    CHECK = "check"  # and nothing was found
    SHADOW = "shadow"
    CANARY = "canary"
    PROMOTE = "promote"
    RETIRE = "retire"
    RESTORE = "restore"  # what had taken its place was rolled back
    ROLL_BACK = "roll back"


POLICY_LIVES: Mapping[tuple[PolicyState, PolicyEvent], PolicyState] = {
    (PolicyState.DRAFT, PolicyEvent.CHECK): PolicyState.CHECKED,
    (PolicyState.CHECKED, PolicyEvent.CHECK): PolicyState.CHECKED,  # with other decisions by now
    (PolicyState.CHECKED, PolicyEvent.SHADOW): PolicyState.SHADOW,
    (PolicyState.SHADOW, PolicyEvent.CANARY): PolicyState.CANARY,
    (PolicyState.CANARY, PolicyEvent.PROMOTE): PolicyState.LIVE,
    (PolicyState.LIVE, PolicyEvent.RETIRE): PolicyState.RETIRED,
    (PolicyState.RETIRED, PolicyEvent.RESTORE): PolicyState.LIVE,
    **{
        (state, PolicyEvent.ROLL_BACK): PolicyState.ROLLED_BACK
        for state in PolicyState
        if state is not PolicyState.ROLLED_BACK
    },
}

ON_TRIAL = frozenset({PolicyState.SHADOW, PolicyState.CANARY})
"""States that end by themselves."""

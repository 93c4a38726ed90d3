"""What is asked and answered of policies over HTTP."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from ocaserve.policies.releases import LEAST_SHARE, MOST_SHARE

_Who = Annotated[str, Meta(max_length=100)]
_Words = Annotated[str, Meta(max_length=500)]
_Seconds = Annotated[float, Meta(ge=10, le=604_800)]


class PolicyHandedIn(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy: `NAME.star` and its `lib/*.star`, each with its text."""

    name: Annotated[str, Meta(max_length=64)]
    files: Annotated[
        dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=1 << 20)]],
        Meta(max_length=32),
    ]


class HandInRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Policies that come into force together or not at all. `by`: who hands them in."""

    policies: Annotated[list[PolicyHandedIn], Meta(min_length=1, max_length=32)]
    by: _Who = ""
    note: _Words = ""


class CheckRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    by: _Who = ""


class ShadowRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """After so many `seconds` it is rolled back, if it has not gone on."""

    by: _Who = ""
    seconds: _Seconds = 3_600.0


class CanaryRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`share`: of the client networks. After so many `seconds` it comes into force, if enough
    sessions were told of and they went no worse than the rest; else it is rolled back.
    """

    by: _Who = ""
    share: Annotated[float, Meta(ge=LEAST_SHARE, le=MOST_SHARE)] = 0.05
    seconds: _Seconds = 600.0


class PromoteRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    by: _Who = ""


class RollBackRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    by: _Who = ""
    reason: _Words = ""


class ReleaseShown(Struct, frozen=True, kw_only=True):
    """`policies`: versions by name. `state`: draft, checked, shadow, canary, live, retired or
    rolled back, since `since`; a trial ends at `until`. Times are Unix times, 0 for none.

    `share`: of the clients, of a canary. `why`: of the last change.
    """

    release: int
    policies: dict[str, str]
    by: str
    note: str
    state: str
    since: float
    until: float
    share: float
    why: str


class InForceShown(Struct, frozen=True, kw_only=True):
    """A policy that is in force for all clients, by which release, since when."""

    name: str
    version: str
    release: int
    by: str
    since: float


class PolicyCostShown(Struct, frozen=True, kw_only=True):
    """What became of a version, at this instance.

    `asked`: its program; `from_memory`: answers that were there; `faults`: decisions made without
    it because it failed; `overruns`: of these, by taking too long; `late`: those that could not
    wait. `mean_us`, `worst_us`: of the processor, for one answer.
    """

    name: str
    version: str
    asked: int
    from_memory: int
    faults: int
    overruns: int
    late: int
    mean_us: float
    worst_us: float
    last_fault: str
    last_question: str
    switched_off: str


class ArmShown(Struct, frozen=True, kw_only=True):
    """`unserved`: decisions of which nobody was left; `failed`: sessions that left a server."""

    decisions: int
    unserved: int
    sessions: int
    failed: int


class CanaryShown(Struct, frozen=True, kw_only=True):
    """`evidence`: that its clients fare worse, by the measure that says most; from `enough` on it
    is rolled back.
    """

    release: int
    canary: ArmShown
    rest: ArmShown
    evidence: float
    enough: float


class ShadowMove(Struct, frozen=True, kw_only=True, rename={"source": "from", "target": "to"}):
    """So many objects of decisions would have another as the first."""

    source: str
    target: str
    decisions: int


class ShadowShown(Struct, frozen=True, kw_only=True):
    """`compared`: objects of decisions, of a sample. `moves`: those with the most first."""

    release: int
    compared: int
    moved: int
    unserved: int
    moves: list[ShadowMove]


class PolicyOverview(Struct, frozen=True, kw_only=True):
    """`releases`: the latest first. `fault`: why changes of other instances are not seen."""

    in_force: list[InForceShown]
    canary: CanaryShown | None
    shadows: list[ShadowShown]
    costs: list[PolicyCostShown]
    releases: list[ReleaseShown]
    restarts: int
    fault: str


class ReleaseDetail(Struct, frozen=True, kw_only=True):
    """A release, with the text of each file by policy, and what its last check here has found."""

    release: ReleaseShown
    texts: dict[str, dict[str, str]]
    faults: list[str]


class PolicyNoteShown(Struct, frozen=True, kw_only=True):
    """`by`: empty where it was done by a measure, or by time. `at`: Unix time."""

    at: float
    release: int
    policies: dict[str, str]
    event: str
    state: str
    by: str
    why: str


class PolicyLog(Struct, frozen=True, kw_only=True):
    """The latest first."""

    notes: list[PolicyNoteShown]


class SessionTold(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a client fared, with the `session` of the answer by which it was steered.

    `failovers`: how often it left a server before it was done.
    """

    session: Annotated[str, Meta(min_length=1, max_length=512)]
    failovers: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    seconds: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    bytes: Annotated[int, Meta(ge=0, le=1 << 60)] = 0

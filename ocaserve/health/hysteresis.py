"""When a problem counts: it must last, and it must stay away, so that nothing flaps.

Each level of each subject has an alarm of its own: a problem of level ERROR is present for the
alarm of WARNING too. So a reading that swings between the two levels holds the warning, and the
error rises only when it lasts. The clock is a parameter; nothing here acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from msgspec import Struct

from ocaserve.health.model import Level, Observation, Timing, Trouble, worst_level
from ocaserve.lifecycle import advance

_JUDGED = (Level.WARNING, Level.ERROR)
_MOST_REMEMBERED = 20  # of a component's subjects: a note is small
_HELD = " (not seen now)"  # behind a reason that is shown only because it is not long gone


class AlarmState(Enum):
    CLEAR = "clear"
    RISING = "rising"
    RAISED = "raised"
    FALLING = "falling"


class AlarmEvent(Enum):
    PRESENT = "present"
    ABSENT = "absent"
    LASTED = "lasted"  # present for rise_s, or absent for fall_s


ALARM_STATES: Mapping[tuple[AlarmState, AlarmEvent], AlarmState] = {
    (AlarmState.CLEAR, AlarmEvent.ABSENT): AlarmState.CLEAR,
    (AlarmState.CLEAR, AlarmEvent.PRESENT): AlarmState.RISING,
    (AlarmState.RISING, AlarmEvent.PRESENT): AlarmState.RISING,
    (AlarmState.RISING, AlarmEvent.ABSENT): AlarmState.CLEAR,
    (AlarmState.RISING, AlarmEvent.LASTED): AlarmState.RAISED,
    (AlarmState.RAISED, AlarmEvent.PRESENT): AlarmState.RAISED,
    (AlarmState.RAISED, AlarmEvent.ABSENT): AlarmState.FALLING,
    (AlarmState.FALLING, AlarmEvent.ABSENT): AlarmState.FALLING,
    (AlarmState.FALLING, AlarmEvent.PRESENT): AlarmState.RAISED,
    (AlarmState.FALLING, AlarmEvent.LASTED): AlarmState.CLEAR,
}


class Alarm(NamedTuple):
    """`since`: when the state began, in seconds of whatever clock the caller has."""

    state: AlarmState
    since: float

    @property
    def is_on(self) -> bool:
        return self.state in (AlarmState.RAISED, AlarmState.FALLING)

    def next(self, *, present: bool, now: float, timing: Timing) -> Alarm:
        """The alarm after the problem was looked for at `now`."""
        alarm = self._happen(AlarmEvent.PRESENT if present else AlarmEvent.ABSENT, now)
        waits = {AlarmState.RISING: timing.rise_s, AlarmState.FALLING: timing.fall_s}
        if now - alarm.since >= waits.get(alarm.state, float("inf")):
            return alarm._happen(AlarmEvent.LASTED, now)
        return alarm

    def _happen(self, event: AlarmEvent, now: float) -> Alarm:
        state = advance(ALARM_STATES, self.state, event)
        return self if state is self.state else Alarm(state, now)


class _Subject(NamedTuple):
    """A subject that has or had a problem, and the latest reason of each level."""

    alarms: Mapping[Level, Alarm]
    reasons: Mapping[Level, str]

    def next(self, problem: Trouble | None, now: float, timing: Timing) -> _Subject:
        level = problem.level if problem is not None else Level.OK
        alarms = {
            judged: alarm.next(present=level >= judged, now=now, timing=timing)
            for judged, alarm in self.alarms.items()
        }
        if problem is None:
            return _Subject(alarms, self.reasons)
        said = {judged: problem.reason for judged in alarms if judged <= level}
        return _Subject(alarms, {**self.reasons, **said})

    @property
    def level(self) -> Level:
        return max((level for level, alarm in self.alarms.items() if alarm.is_on), default=Level.OK)

    @property
    def shown_reason(self) -> str:
        """Why it has the level that it has."""
        is_held = self.alarms[self.level].state is AlarmState.FALLING
        return self.reasons[self.level] + (_HELD if is_held else "")

    @property
    def is_over(self) -> bool:
        return all(alarm.state is AlarmState.CLEAR for alarm in self.alarms.values())


class AlarmVerdict(NamedTuple):
    """What is to be said of a component now. `since`: when its level became this. What is shown
    though it is gone, since it may come back, says so.

    errors: the subjects that are an error.
    """

    level: Level
    reason: str
    since: float
    errors: tuple[str, ...] = ()


class Raised(Struct, frozen=True):
    """What is shown of a component that is not ok, to be remembered.

    since: of the monotonic clock. subjects: level and reason of each problem.
    """

    since: float
    subjects: dict[str, tuple[Level, str]]

    @property
    def level(self) -> Level:
        return worst_level(level for level, _ in self.subjects.values())


class Judge:
    """Turns the observations of one component into verdicts that do not flap.

    `before`: what was shown by whom this one succeeds; it holds until it has been gone for fall_s.
    """

    def __init__(self, timing: Timing, now: float, before: Raised | None = None) -> None:
        self._timing = timing
        self._subjects: dict[str, _Subject] = {}
        self._level = Level.OK
        self._since = now
        if before is not None:
            self._level, self._since = before.level, before.since
            self._subjects = {
                name: _raised_subject(level, reason, now)
                for name, (level, reason) in before.subjects.items()
            }

    @property
    def raised(self) -> Raised | None:
        """What is shown now; None while it is ok. Of very many subjects the worst."""
        if not self._level:
            return None
        shown = [(name, subject) for name, subject in self._subjects.items() if subject.level]
        shown.sort(key=lambda row: (-row[1].level, row[0]))  # as it is said
        kept = {
            name: (subject.level, subject.reasons[subject.level])
            for name, subject in shown[:_MOST_REMEMBERED]
        }
        return Raised(self._since, kept)

    def judge(self, observation: Observation, now: float) -> AlarmVerdict:
        """The verdict after this observation; of two problems of a subject the worse counts."""
        present: dict[str, Trouble] = {}
        for problem in sorted(observation.problems, key=lambda problem: problem.level):
            present[problem.subject] = problem
        for subject in self._subjects.keys() | present.keys():
            known = self._subjects.get(subject) or _new_subject(now)
            self._subjects[subject] = known.next(present.get(subject), now, self._timing)
        self._subjects = {
            name: subject for name, subject in self._subjects.items() if not subject.is_over
        }
        return self._conclude(observation.summary, now)

    def _conclude(self, summary: str, now: float) -> AlarmVerdict:
        named = sorted(self._subjects.items())
        shown = [subject for _, subject in named if subject.level]
        shown.sort(key=lambda subject: -subject.level)
        errors = tuple(name for name, subject in named if subject.level is Level.ERROR)
        level = shown[0].level if shown else Level.OK
        if level is not self._level:
            self._level, self._since = level, now
        reasons = [subject.shown_reason for subject in shown]
        return AlarmVerdict(level, "; ".join(reasons) or summary, self._since, errors)


def _new_subject(now: float) -> _Subject:
    clear = Alarm(AlarmState.CLEAR, now)
    return _Subject(dict.fromkeys(_JUDGED, clear), {})


def _raised_subject(level: Level, reason: str, now: float) -> _Subject:
    raised, clear = Alarm(AlarmState.RAISED, now), Alarm(AlarmState.CLEAR, now)
    alarms = {judged: raised if judged <= level else clear for judged in _JUDGED}
    return _Subject(alarms, dict.fromkeys(_JUDGED, reason))

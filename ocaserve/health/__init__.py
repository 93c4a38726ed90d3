"""Can this machine take traffic, and if not, why: a local loop over what bounds it.

Each component (the processors, the stores, the certificates, …) is observed every second and may
have problems, each a warning or an error with its reason. What lasts is shown, the worst wins.

`model` has the words, `hysteresis` decides when a problem counts, `host_components`, `workers`,
`stores` and `certificates` find problems, `capacity` says what can still be taken, and `monitor`
is the loop.
Another part joins with one class that has `name`, `timing` and `observe`: see `model.Component`.
"""

from ocaserve.health.model import (
    Component,
    Health,
    Judgement,
    Level,
    Observation,
    Timing,
    Trouble,
    worst_level,
)

__all__ = [
    "Component",
    "Health",
    "Judgement",
    "Level",
    "Observation",
    "Timing",
    "Trouble",
    "worst_level",
]

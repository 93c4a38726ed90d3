"""Where clients and operators are to reach the appliance: does it listen there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ocaserve.health.model import Level, Observation, Timing, Trouble


class ListenersComponent:
    """listen: the addresses on which it does. missing: those on which it does not, and why not."""

    name = "listeners"

    def __init__(
        self,
        timing: Timing,
        listen: Callable[[], Collection[str]],
        missing: Callable[[], Mapping[str, str]],
    ) -> None:
        self.timing = timing
        self._listen = listen
        self._missing = missing

    def observe(self, now: float) -> Observation:
        """A warning for each that is missing: it is served on the others."""
        return Observation(
            f"listens on {', '.join(self._listen())}",
            tuple(Trouble(Level.WARNING, text, why) for text, why in self._missing().items()),
        )

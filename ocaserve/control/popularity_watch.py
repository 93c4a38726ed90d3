"""What clients want most, and what is locked in memory, as `popularity` has told last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.state import STATE
from ocaserve.popularity.pinning import PinnedShown
from ocaserve.popularity.process import PopularityShown, read_shown

_LOOK_EVERY_S = 2.0
NOTHING = PopularityShown(objects=0, most_wanted=[], pinned=PinnedShown())


class PopularityWatch:
    """shown: as of the last look. pinned_bytes: that are to be locked."""

    def __init__(self, pinned_bytes: int) -> None:
        self.pinned_bytes = pinned_bytes
        self.shown = NOTHING


POPULARITY = web.AppKey("POPULARITY", PopularityWatch)


def start_popularity_watch(app: web.Application) -> None:
    """Look for as long as the application runs, where demand is counted."""
    state = app[STATE]
    watch = app[POPULARITY] = PopularityWatch(state.settings.serve.pinned_bytes)
    state.registry.register(PopularityMetrics(watch))
    if not state.settings.counts_demand:
        return

    async def keep_looking(_: web.Application) -> None:
        while True:
            shown = await asyncio.to_thread(read_shown, state.folder)
            watch.shown = NOTHING if shown is None else shown
            await asyncio.sleep(_LOOK_EVERY_S)

    run_in_background(app, "popularity", keep_looking)


class PopularityMetrics(Collector):
    """As of the last look."""

    def __init__(self, watch: PopularityWatch) -> None:
        self._watch = watch

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: nobody has looked yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        shown = self._watch.shown
        for name, about, value in (
            ("pinned_bytes", "Bytes of objects that are locked in memory.", shown.pinned.bytes),
            ("pinned_objects", "Objects that are locked in memory.", shown.pinned.objects),
            ("pinned_wanted_bytes", "`serve.pinned_bytes`.", self._watch.pinned_bytes),
            (
                "pinned_faulty",
                "1 while the system does not let all be locked that is to be.",
                bool(shown.pinned.fault),
            ),
            ("popular_objects", "Objects that clients wanted lately.", shown.objects),
        ):
            yield GaugeMetricFamily(f"ocaserve_{name}", about, value=value)

"""A worker's stores, made from the settings; and what it tells others of them.

The shared gauges show of each store whether it can be asked, and which folder is held (device and
inode): so health sees what workers serve from, not what stands at the path. The log says once that
a store failed, and once that it is back; the same of files that cannot be opened.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop

from ocaserve.metrics import CounterSlot
from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.serving.catalogue import ObjectCatalogue
from ocaserve.serving.counters import (
    GAUGE_PLACES,
    STORE_BYTES,
    STORE_COLUMNS,
    Count,
    Gauge,
    StoreGauge,
    store_gauge_place,
)
from ocaserve.serving.failing import StoreChange, StorePatience
from ocaserve.serving.stance import TICK_S
from ocaserve.serving.store import Store
from ocaserve.settings import Settings
from ocaserve.stores.answers import EXHAUSTED

_log = logging.getLogger(__name__)

_QUIET_TICKS = 40  # ten seconds without an error of the machine: it is over


class ObjectStock:
    """The catalogue over all stores of the settings, and its numbers in the worker's slot."""

    def __init__(
        self, settings: Settings, slot: CounterSlot, loop: AbstractEventLoop, policy: ResponsePolicy
    ) -> None:
        serve = settings.serve
        columns = slot.labels.get(STORE_BYTES, {})
        stores = [
            Store(
                store.path, loop, serve.io_threads,
                columns.get(store.path, STORE_COLUMNS - 1), serve.limits.lookups,
            )
            for store in settings.store
        ]  # fmt: skip
        self._counts = slot.values
        self._exhausted_for = 0  # answers that the machine's limits have cost, in this spell
        self._exhausted_at = 0  # tick of the last one
        self.catalogue = ObjectCatalogue(
            loop, stores, policy,
            open_files=serve.open_files,
            small_object_bytes=serve.small_object_bytes,
            cold_pages=serve.cold_pages,
            notify=self._store_changed,
            patience=StorePatience(
                serve.store_failing_share, serve.store_trial_objects,
                max(1, round(serve.store_retry_s / TICK_S)),
            ),
        )  # fmt: skip

    def tick_once(self) -> None:
        """With each tick of the worker: keep up with the stores, and show what was counted."""
        catalogue, counts = self.catalogue, self._counts
        catalogue.tick_once()
        counts[Count.FILES_REPLACED] += catalogue.replaced
        counts[Count.OBJECTS_UNREADABLE] += catalogue.unreadable
        counts[Count.STORE_ERRORS] += catalogue.io_errors
        counts[Count.LOOKUPS_REFUSED] += catalogue.lookups.refused
        catalogue.replaced = catalogue.unreadable = catalogue.io_errors = 0
        catalogue.lookups.refused = 0
        counts[GAUGE_PLACES[Gauge.OPEN_FILES]] = len(catalogue)
        if self._exhausted_for and catalogue.tick - self._exhausted_at >= _QUIET_TICKS:
            _log.warning("files can be opened again: %d could not", self._exhausted_for)
            self._exhausted_for = 0

    def on_error(self, error: OSError) -> None:
        """An object could not be had. What the machine lacks is said once while it lasts."""
        if error.errno not in EXHAUSTED:
            return
        if not self._exhausted_for:
            _log.error("a file could not be opened: %s", error.strerror or error)
        self._exhausted_for += 1
        if self._exhausted_at != self.catalogue.tick:  # once a tick, however many meet it
            self._exhausted_at = self.catalogue.tick
            self.catalogue.shrink()

    def _store_changed(self, store: Store, change: StoreChange) -> None:
        failed = sum(not store.can_be_asked for store in self.catalogue.stores)
        self._counts[GAUGE_PLACES[Gauge.STORES_FAILED]] = failed
        self._show(store)
        if change is StoreChange.FAILED:
            self._counts[Count.STORE_ERRORS] += 1
            _log.error("store %s: failed: %s", store.path, store.why)
        elif change is not StoreChange.OPENED:
            _log.warning("store %s: %s", store.path, change.value)

    def _show(self, store: Store) -> None:
        if store.column >= STORE_COLUMNS - 1:  # the column of all that have none of their own
            return
        held = store.folder.identity if store.folder is not None else None
        shown = {
            StoreGauge.STATE: store.state.value,
            StoreGauge.DEVICE: held.device if held else 0,
            StoreGauge.INODE: held.inode if held else 0,
        }
        for gauge, value in shown.items():
            self._counts[store_gauge_place(gauge, store.column)] = value

"""The queues in the control process: the engine, and what health and metrics know of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from aiohttp import web
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ocaserve.control.endpoints import run_in_background
from ocaserve.control.state import STATE, ControlState
from ocaserve.health import Level, Observation, Timing, Trouble
from ocaserve.queue import Bounds, MessageState, Queues, QueueUnavailableError, Sizes, open_queues
from ocaserve.runtime import find_state_folder

_LOOK_EVERY_S = 5.0
_MOST_SHOWN = 100  # queues: names come from producers, and each is a label of metrics
_FILE = "queue.db"


class Broker:
    """The engine, and the sizes of its queues as of the last look."""

    def __init__(self, url: str, bounds: Bounds) -> None:
        self.queues: Queues = open_queues(url, bounds)
        self.sizes: dict[str, Sizes] = {}
        self.hidden = 0  # queues beyond those that are shown
        self.fault = ""
        self._file = Path(url.removeprefix("sqlite://").partition("?")[0])
        self._is_file = url.startswith("sqlite:")

    @property
    def is_used(self) -> bool:
        """Whether there is anything to look at: looking makes no file."""
        return not self._is_file or self._file.exists()

    async def look(self) -> None:
        """Take the sizes of all queues."""
        if not self.is_used:
            return
        try:
            names = await self.queues.names()
            self.sizes = {name: await self.queues.sizes(name) for name in names[:_MOST_SHOWN]}
            self.hidden = max(0, len(names) - _MOST_SHOWN)
            self.fault = ""
        except QueueUnavailableError as error:
            self.fault = str(error)


BROKER = web.AppKey("BROKER", Broker)


class QueueComponent:
    """Health of the engine: it is a warning, since no client waits for a queue."""

    name = "queue"
    timing = Timing(rise_s=10.0, fall_s=0.0)

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def observe(self, _: float) -> Observation:
        broker = self._broker
        if broker.fault:
            return Observation("", (Trouble(Level.WARNING, "engine", broker.fault),))
        if not broker.sizes:
            return Observation("no queues")
        waiting = sum(sizes.ready for sizes in broker.sizes.values())
        queues = "queue" if len(broker.sizes) == 1 else "queues"
        messages = "message" if waiting == 1 else "messages"
        return Observation(f"{len(broker.sizes)} {queues}, {waiting} {messages} ready")


class QueueMetrics(Collector):
    """Sizes as of the last look."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def describe(self) -> Iterable[Metric]:
        """Nothing, when it is registered: nobody has looked yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        broker = self._broker
        yield GaugeMetricFamily(
            "ocaserve_queue_up", "1 while the queues' engine answers.", value=not broker.fault
        )
        messages = GaugeMetricFamily(
            "ocaserve_queue_messages", "Messages by state.", labels=["queue", "state"]
        )
        age = GaugeMetricFamily(
            "ocaserve_queue_oldest_ready_seconds", "How long the oldest ready one waits; 0: none.",
            labels=["queue"],
        )  # fmt: skip
        size = GaugeMetricFamily(
            "ocaserve_queue_retained_bytes", "Bytes of bodies held.", labels=["queue"]
        )
        redelivered = CounterMetricFamily(
            "ocaserve_queue_redelivered", "Deliveries that ended without an ack.", labels=["queue"]
        )
        buried = CounterMetricFamily(
            "ocaserve_queue_buried", "Messages that were ever put aside.", labels=["queue"]
        )
        for name, sizes in broker.sizes.items():
            for state in MessageState:
                messages.add_metric([name, state.label], getattr(sizes, state.label))
            age.add_metric([name], sizes.oldest_ready_s or 0.0)
            size.add_metric([name], sizes.bytes)
            redelivered.add_metric([name], sizes.redelivered)
            buried.add_metric([name], sizes.buried_total)
        yield from (messages, age, size, redelivered, buried)


def _engine_url(state: ControlState) -> str:
    if state.settings.queue.engine:
        return state.settings.queue.engine
    kept = find_state_folder(state.settings.appliance.state_directory, os.environ)
    return f"sqlite://{quote(str((kept or state.folder).absolute() / _FILE))}"


def start_broker(app: web.Application) -> None:
    """Offer the queues for as long as the application runs."""
    state = app[STATE]
    queue = state.settings.queue
    bounds = Bounds(bytes=queue.retained_bytes, body=queue.body_bytes)
    broker = app[BROKER] = Broker(_engine_url(state), bounds)
    state.components.append(QueueComponent(broker))
    state.registry.register(QueueMetrics(broker))

    async def keep_looking(_: web.Application) -> None:
        while True:
            await broker.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def close(_: web.Application) -> None:
        await broker.queues.close()

    run_in_background(app, "queues", keep_looking)
    app.on_cleanup.append(close)

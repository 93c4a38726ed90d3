"""All model appliances push, each by the pacing of the real one, over few connections."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

from benchmarks.fleet.documents import ModelAppliance
from benchmarks.fleet.wire import Caller, Reply
from ocaserve.routing.forms import Form, answer_to
from ocaserve.routing.pacing import Pacing

_CONNECTIONS = 64
_MOST_AT_ONCE = 256  # documents that are made and wait for a connection, or are sent
_TICK_S = 0.02
_LEVEL = 4  # as the reporter packs


class Pushing:
    """appliances: all. choose: which caller an appliance reports to.

    statuses: of all answers, by what was sent; sent: bytes, likewise; by_second: documents that
    were sent in each second since the start. late: when each was answered, monotonic, and how long
    after it was due.
    """

    def __init__(
        self,
        appliances: Sequence[ModelAppliance],
        addresses: Sequence[str],
        interval_s: float,
        seed: int,
    ) -> None:
        self.appliances = appliances
        self.callers = [Caller(each, _CONNECTIONS // len(addresses)) for each in addresses]
        self.interval_s = interval_s
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.sent: Counter[str] = Counter()
        self.plain: Counter[str] = Counter()
        self.by_second: Counter[int] = Counter()
        self.late: list[tuple[float, float]] = []
        self.taken_at: dict[int, float] = {}  # by appliance, its last document; monotonic
        self.failed: Counter[str] = Counter()
        self._chance = random.Random(seed)  # noqa: S311 - repeatable is what is wanted
        self._pacing = [Pacing(interval_s, self._chance.uniform) for _ in appliances]
        self._due: list[tuple[float, int]] = []
        self._when: dict[int, float] = {}
        self._busy: set[int] = set()
        self._begun = time.monotonic()
        self.prepare: Callable[[ModelAppliance], None] = lambda _: None  # before it says something

    def begin(self, spread_s: float) -> None:
        """All of them, the first within so long."""
        for each in self.appliances:
            self.at(each, self._chance.uniform(0, spread_s))

    def at(self, appliance: ModelAppliance, in_s: float) -> None:
        """Its next document is due then; what was to come before or after is not."""
        when = time.monotonic() + in_s
        self._when[appliance.number] = when
        heapq.heappush(self._due, (when, appliance.number))

    def at_once(self, appliances: Sequence[ModelAppliance]) -> None:
        """Something has changed that is told within half a second."""
        for each in appliances:
            self.at(each, self._chance.uniform(0, 0.5))

    async def keep_pushing(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                now = time.monotonic()
                while self._due and self._due[0][0] <= now and len(self._busy) < _MOST_AT_ONCE:
                    when, number = heapq.heappop(self._due)
                    appliance = self.appliances[number]
                    if self._when.get(number) != when or not appliance.is_alive:
                        continue
                    if number in self._busy:
                        self.at(appliance, 0.5)
                    else:
                        self._busy.add(number)
                        group.create_task(self._push(appliance, when))
                await asyncio.sleep(_TICK_S)

    async def _push(self, appliance: ModelAppliance, due: float) -> None:
        pacing = self._pacing[appliance.number]
        try:
            reply = await self._send(appliance)
        except (OSError, TimeoutError) as error:
            self.failed[type(error).__name__] += 1
            self.at(appliance, pacing.fail())
        else:
            now = time.monotonic()
            self.late.append((now, now - due))
            form = answer_to(appliance.form, reply.status)
            if form is None:
                self.at(appliance, pacing.fail())
            elif form is not Form.CHANGES:
                appliance.form = form
                self.at(appliance, 0.0)
            else:
                self.taken_at[appliance.number] = time.monotonic()
                self.at(appliance, pacing.succeed())
        finally:
            self._busy.discard(appliance.number)

    async def _send(self, appliance: ModelAppliance) -> Reply:
        kind = appliance.form.value
        self.prepare(appliance)
        plain = appliance.say(time.time())
        serial, held = appliance.serial, appliance.held
        changed, leaked = set(appliance.changed), set(appliance.leaked)
        packer = zlib.compressobj(_LEVEL, wbits=31)
        body = packer.compress(plain) + packer.flush()
        self.sent[kind] += len(body)
        self.plain[kind] += len(plain)
        self.by_second[int(time.monotonic() - self._begun)] += 1
        caller = self.callers[appliance.number % len(self.callers)]
        reply = await caller.post("/v1/reports", body, "Content-Encoding: gzip\r\n")
        self.statuses[kind, reply.status] += 1
        if reply.status // 100 == 2:
            appliance.was_taken(serial, changed, leaked, held)
        return reply

    @property
    def refused(self) -> int:
        """Documents that were answered, and not taken."""
        return sum(count for (_, status), count in self.statuses.items() if status // 100 != 2)

    def between(self, since: float, until: float) -> list[int]:
        """How many were sent in each second from a time to another, both monotonic."""
        first, last = int(since - self._begun), int(until - self._begun)
        return [self.by_second[second] for second in range(first, last + 1)]

    def latest(self, since: float, until: float) -> float:
        """Seconds, of those answered within that time: the 99th percentile."""
        late = sorted(late for at, late in self.late if since <= at <= until)
        return late[len(late) * 99 // 100] if late else 0.0

    def close(self) -> None:
        for caller in self.callers:
            caller.close()

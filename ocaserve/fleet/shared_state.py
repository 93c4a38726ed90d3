"""What several instances of the control plane share, through a Valkey or Redis server.

Each holds everything, and answers from memory. A report that one takes is told to the others, and
so are drains and what was given to clients. The server's death stops changes, not answers: drains
are refused, and who was heard through it keeps his state for a while (`fleet.shared_grace_s`).

In the server lie, under one prefix: a hash of appliances and one of drains, which an instance reads
when it joins; the number of changes of the drains, by which an instance sees that the server has
lost some; the tables by their digest, each once; of each appliance what is large and seldom changes
(its bulk); and a stream of what has changed, which it follows from there. Tables and bulks that
nobody names any more end by themselves. Times are the server's: the clocks of instances may differ.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import redis.asyncio as redis
from redis.exceptions import RedisError

from ocaserve.fleet.keeping import decode_copy, encode_copy
from ocaserve.fleet.membership import FORGET_S, FleetDrain, FleetState
from ocaserve.fleet.merging import later
from ocaserve.fleet.pushed_documents import Copy
from ocaserve.fleet.shared_copies import SHARED_PREFIX, SharedCopies, SharedRecord, read_record

_log = logging.getLogger(__name__)

APPLIANCES_KEY, DRAINS_KEY = f"{SHARED_PREFIX}appliances", f"{SHARED_PREFIX}drains"
STREAM_KEY, _BORN = f"{SHARED_PREFIX}changes", f"{SHARED_PREFIX}born"
_DRAINS_VERSION = f"{SHARED_PREFIX}drains-version"  # goes up with each change of the drains
_WAIT_MS = 200  # for changes of others; ours wait so long at the most
_ANSWER_S = 3.0  # a server that has not answered by then is not there
_AGAIN_S = 0.5
_MEASURE_EVERY_S = 2.0  # a clock may step: within it instances differ, so well below `report_ttl_s`
_START = b"0-0"  # before the first entry of a stream
_MOST_ENTRIES = 50_000  # of the stream: who is farther behind joins anew
MOST_READ = 1_000
_KEEP_TTLS = 10  # times `report_ttl_s`: what no report has named for so long is of nobody
_GRANTS_EVERY_S = 1.0
_FAILURES = (RedisError, OSError, TimeoutError)
_DECODING = (msgspec.MsgspecError, ValueError, KeyError, zlib.error)


class SharedStateError(Exception):
    """The server does not answer; the text says what."""


class _Place(NamedTuple):
    """Where the server's clock and the stream are.

    offset: of that clock from the monotonic one, as it was at measured_at by the latter; seconds.
    """

    offset: float
    measured_at: float
    last: bytes


class SharedState:
    """One instance's part in it. `is_up`: whether the server is there."""

    def __init__(self, url: str, state: FleetState) -> None:
        self.instance = secrets.token_hex(6)
        self.is_up = False
        self._state = state
        self._client: Any = redis.Redis.from_url(
            url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S
        )
        keep_s = max(60, round(state.settings.report_ttl_s * _KEEP_TTLS))
        self._copies = SharedCopies(self._client, state.tables, keep_s)
        self._granted_at = float("-inf")
        self._born = b""  # by which the server is known again; empty before it was seen
        self._drains_version = 0  # of the drains that are known here
        self._drains_lock = asyncio.Lock()  # what is read and what is written meet here in order
        self._seen_at = time.monotonic()

    async def keep_sharing(self) -> None:
        """Join, follow, and join again, for ever. What goes wrong is said once."""
        self._state.is_shared = True
        fault = ""
        while True:
            try:
                place: _Place | None = await self._join()
                if fault:
                    _log.warning("fleet: the server that is shared answers again")
                fault = ""
                self._come_up()
                while place is not None:
                    place = await self._go_on(place)
                    heed_cancellation()
                _log.warning("fleet: changes that are shared were missed, all is read anew")
            except _FAILURES as error:
                heed_cancellation()
                self._go_down()
                if not fault:
                    _log.error("fleet: the server that is shared does not answer: %s", error)
                fault = str(error)
            except Exception:
                self._go_down()  # nothing is shared until the loop is begun again
                raise
            await asyncio.sleep(_AGAIN_S)

    async def close(self) -> None:
        """Tell what is left to tell, if the server is there."""
        if self.is_up:
            try:
                await self._send(await self._offset())
            except _FAILURES as error:
                _log.warning("fleet: the last reports could not be shared: %s", error)
        await self._client.aclose()

    def _come_up(self) -> None:
        self.is_up = True
        self._seen_at = time.monotonic()
        self._state.shared_lost_at = None

    def _go_down(self) -> None:
        """From when on nothing was heard of the others."""
        self.is_up = False
        if self._state.shared_lost_at is None:
            self._state.shared_lost_at = self._seen_at

    # -- joining ---------------------------------------------------------------------------------

    async def _join(self) -> _Place:
        """Take what others know, and tell what they do not."""
        measured_at, offset = time.monotonic(), await self._offset()
        newest = await self._client.xrevrange(STREAM_KEY, count=1)
        last = newest[0][0] if newest else _START
        members = self._state.members
        self._copies.begin_anew(members)
        known: dict[str, SharedRecord] = {}
        for data in (await self._client.hgetall(APPLIANCES_KEY)).values():
            record = read_record(data)
            if record is None:
                continue
            known[record.appliance] = record
            if record.heard_ms / 1000 < time.monotonic() + offset - FORGET_S:
                await self._client.hdel(APPLIANCES_KEY, record.appliance)
            else:
                await self._take(record, offset)
        await self._take_drains()
        state = self._state
        for name, member in state.members.items():
            record = known.get(name)
            heard_ms = round((member.heard_at + offset) * 1000)
            if record is None or heard_ms > record.heard_ms:
                state.unshared.add(name)
        return _Place(offset, measured_at, last)

    async def _restore_drains(self) -> None:
        """Tell a server that has lost what it knew of the drains: nobody has undone them.

        One that has lost everything keeps what it was told since. Of one that is back as it was
        before, ours stand for all: what is there may have been undone after that.
        """
        await self._client.set(_BORN, secrets.token_hex(6), nx=True)
        born = await self._client.get(_BORN)
        is_empty = self._born not in (b"", born)

        async def restore(pipeline: Any) -> None:
            version = _read_version(await pipeline.get(_DRAINS_VERSION))
            pipeline.multi()
            if not is_empty and version >= self._drains_version:
                return
            if not is_empty:
                pipeline.delete(DRAINS_KEY)
            for name, drain in self._state.drains.items():
                pipeline.hsetnx(DRAINS_KEY, name, msgspec.msgpack.encode(drain))
            pipeline.set(_DRAINS_VERSION, max(version, self._drains_version) + 1)
            self._add(pipeline, drains=b"")

        await self._client.transaction(restore, _DRAINS_VERSION)
        self._born = born

    async def _offset(self) -> float:
        seconds, microseconds = await self._client.time()
        return float(seconds) + float(microseconds) / 1e6 - time.monotonic()

    # -- following -------------------------------------------------------------------------------

    async def _go_on(self, place: _Place) -> _Place | None:
        """Tell what is new here; wait a moment for what is new elsewhere, and take it.

        None where some of that was missed: what is not in the stream any more is passed over by a
        read, which then has as much as it may, or the server is not as it was.
        """
        if (now := time.monotonic()) - place.measured_at > _MEASURE_EVERY_S:
            if not await self._goes_on_from(place.last):
                return None
            place = place._replace(offset=await self._offset(), measured_at=now)
        await self._send(place.offset)
        found = await self._client.xread({STREAM_KEY: place.last}, count=MOST_READ, block=_WAIT_MS)
        self._seen_at = time.monotonic()
        self._state.granted_elsewhere.forget(self._seen_at)
        if not found:
            return place
        entries = found[0][1]
        if len(entries) == MOST_READ and not await self._goes_on_from(place.last):
            return None
        for _, fields in entries:
            # Of our own, drains alone: a change counts also where its answer was lost.
            if b"drains" in fields or fields.get(b"by") != self.instance.encode():
                await self._take_entry(fields, place.offset)
        return place._replace(last=entries[-1][0])

    async def _goes_on_from(self, last: bytes) -> bool:
        """Whether the stream has all that was told after this entry, and is the one it was."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.xrange(STREAM_KEY, count=1)
        pipeline.xrevrange(STREAM_KEY, count=1)
        pipeline.get(_BORN)
        oldest, newest, born = await pipeline.execute()
        if born != self._born:
            return False
        if not newest:
            return last == _START
        return _order(oldest[0][0]) <= _order(last) <= _order(newest[0][0])

    async def _take_entry(self, fields: Mapping[bytes, bytes], offset: float) -> None:
        if b"appliance" in fields:
            record = read_record(fields[b"appliance"])
            if record is not None:
                await self._take(record, offset)
        elif b"grants" in fields:
            try:
                grants = msgspec.msgpack.decode(fields[b"grants"], type=dict[str, float])
            except msgspec.MsgspecError as error:
                _log.warning("fleet: what another instance gave cannot be read: %s", error)
                return
            by = fields.get(b"by", b"").decode("ascii", "replace")
            self._state.granted_elsewhere.tell(by, grants, time.monotonic())
        else:
            await self._take_drains()

    async def _take(self, record: SharedRecord, offset: float) -> None:
        """What another instance has heard, where it is later than what is known here."""
        state, now = self._state, time.monotonic()
        heard_at = record.heard_ms / 1000 - offset
        ours = state.members.get(record.appliance)
        if ours is not None and ours.heard_at >= heard_at:
            return
        if not state.is_welcome(record.appliance):
            return
        try:
            table = await self._copies.find_table(record)
            bulk = await self._copies.find_bulk(record)
            light = decode_copy(record.appliance, table, record.known)
        except _DECODING as error:
            _log.warning("fleet: what is shared of %r cannot be read: %s", record.appliance, error)
            return
        theirs = replace(light, objects=bulk.objects)
        copy = theirs if ours is None else later(ours.copy, theirs)
        state.hear(copy, now, max(now - heard_at, 0.0), is_own=False)

    async def _take_drains(self) -> None:
        async with self._drains_lock:
            await self._restore_drains()
            pipeline = self._client.pipeline(transaction=True)
            pipeline.get(_DRAINS_VERSION)
            pipeline.hgetall(DRAINS_KEY)
            version, found = await pipeline.execute()
            self._know_drains(_read_version(version), found)

    def _know_drains(self, version: int, found: Mapping[bytes, bytes]) -> None:
        drains: dict[str, FleetDrain] = {}
        for name, data in found.items():
            try:
                drains[name.decode()] = msgspec.msgpack.decode(data, type=FleetDrain)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                _log.warning("fleet: a drain that is shared cannot be read: %s", error)
        self._drains_version = version
        self._state.replace_drains(drains)

    # -- telling ---------------------------------------------------------------------------------

    async def _send(self, offset: float) -> None:
        """All that is new here, in one transaction; what fails is told later. An appliance that
        meets a defect is left out until there is more to tell of it.
        """
        state, now = self._state, time.monotonic()
        names, state.unshared = state.unshared, set()
        grants = self._grants(now)
        if not names and grants is None:
            return
        try:
            members = [state.members[name] for name in names if name in state.members]
            await self._copies.keep_told([member.copy for member in members])
            pipeline = self._client.pipeline(transaction=True)
            for member in members:
                heard_ms = round((member.heard_at + offset) * 1000)
                try:
                    await self._put(pipeline, member.copy, heard_ms)
                except _FAILURES:
                    raise
                except Exception as defect:  # noqa: BLE001 - the border between appliances
                    state.defects.contain("sharing", defect)
            if grants is not None:
                self._add(pipeline, grants=msgspec.msgpack.encode(grants))
            await pipeline.execute()
        except _FAILURES:
            state.unshared |= names
            raise

    async def _put(self, pipeline: Any, copy: Copy, heard_ms: int) -> None:
        table = await self._copies.put_table(pipeline, copy.table)
        bulk = await self._copies.put_bulk(pipeline, copy)
        light = encode_copy(replace(copy, objects=None))
        data = msgspec.msgpack.encode(SharedRecord(copy.appliance, table, bulk, heard_ms, light))
        pipeline.hset(APPLIANCES_KEY, copy.appliance, data)
        self._add(pipeline, appliance=data)

    def _add(self, pipeline: Any, **fields: bytes) -> None:
        pipeline.xadd(STREAM_KEY, {"by": self.instance, **fields}, maxlen=_MOST_ENTRIES)

    def _grants(self, now: float) -> dict[str, float] | None:
        """What was given here and is in no report yet; None where it is not the time to tell."""
        if now - self._granted_at < _GRANTS_EVERY_S:
            return None
        members = self._state.members.items()
        given = {name: each.grants.bits_per_s for name, each in members if each.grants.bits_per_s}
        if not given:
            return None
        self._granted_at = now
        return given

    async def drain(self, appliances: Iterable[str], drain: FleetDrain | None) -> None:
        """For all instances, this one too. Raises SharedStateError: the server does not answer.

        Then nothing is changed, or the answer alone was lost: the stream tells it here too.
        """
        names = list(appliances)
        if not names:
            return
        try:
            async with self._drains_lock:
                await self._restore_drains()  # or ours would count as what it has lost
                pipeline = self._client.pipeline(transaction=True)
                if drain is None:
                    pipeline.hdel(DRAINS_KEY, *names)
                else:
                    data = msgspec.msgpack.encode(drain)
                    pipeline.hset(DRAINS_KEY, mapping=dict.fromkeys(names, data))
                pipeline.incr(_DRAINS_VERSION)
                pipeline.hgetall(DRAINS_KEY)
                self._add(pipeline, drains=b"")
                _, version, found, _ = await pipeline.execute()
                self._know_drains(version, found)
        except _FAILURES as error:
            raise SharedStateError(str(error)) from error


def heed_cancellation() -> None:
    """Raise what the library has taken for a failure of its own: being cancelled while it reads."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _read_version(data: bytes | None) -> int:
    try:
        return int(data or 0)
    except ValueError:
        _log.warning("fleet: %s is %r, not a number, and counts as 0", _DRAINS_VERSION, data)
        return 0


def _order(entry: bytes) -> tuple[int, int]:
    """What an entry of the stream is sorted by: the server's time in ms, and a number within it."""
    ms, _, number = entry.partition(b"-")
    return int(ms), int(number)

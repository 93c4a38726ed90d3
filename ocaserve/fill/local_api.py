"""What the fill process answers, on a socket that only this appliance's control process reaches.

Control has checked who asks, and passes bodies and answers on as they are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from ocaserve.fill.filler import Filler
from ocaserve.fill.manifest import Entry, Manifest, ManifestError, read_manifest
from ocaserve.fill.planner import Kind
from ocaserve.fill.scrubbing import Scrubber
from ocaserve.fill.sharing import Missing, find_piece
from ocaserve.fill.tally import Doing, Dropped, FillStatus, Sums, Waiting

SOCKET = "fill.sock"
MOST_BODY_BYTES = 1 << 30
_MOST_SHOWN = 10_000
_MOST_DROPPED = 100


class Telling:
    """Makes the status: rates need two looks."""

    def __init__(self, filler: Filler, scrubber: Scrubber, fault: list[str]) -> None:
        self._filler = filler
        self._scrubber = scrubber
        self._fault = fault  # of the pulled manifest, one line or none
        self._seen: tuple[float, int] = (time.monotonic(), 0)
        self._bits_per_s = 0.0

    def sample(self) -> None:
        """Once a second or so."""
        now, total = time.monotonic(), sum(self._filler.means.received.values())
        before, last = self._seen
        if now - before >= 1.0:
            self._bits_per_s = 0.7 * self._bits_per_s + 0.3 * 8 * (total - last) / (now - before)
            self._seen = (now, total)

    def status(self) -> FillStatus:
        filler = self._filler
        sums = filler.compared.sums
        missing = sums.parts[Kind.FETCH]
        postponed = filler.setbacks.postponed()
        doing = [
            Doing(
                key=each.entry.key, size=each.entry.size, bytes_done=each.pieces.bytes_done,
                store=each.store,
            )
            for each in filler.doing.values()
        ]  # fmt: skip
        state, why = self._state(sums, postponed)
        rate = self._bits_per_s
        ends = time.time() + 8 * missing.bytes / rate if rate > 1_000 and missing.bytes else None
        window = filler.gate.window
        return FillStatus(
            state=state, why=why,
            manifest=str(filler.manifests.current.version), holdings=filler.holdings.stamp,
            manifest_at=_time(filler.manifests.taken_at or None),
            manifest_fault=self._fault[0] if self._fault else "",
            planned_at=_time(filler.planned_at or None),
            wanted=sums.wanted, here=sums.parts[Kind.KEEP], missing=missing, waiting=sums.waiting,
            postponed=postponed, lost=dict(filler.compared.faults), doing=doing,
            bits_per_s=round(rate), ends=_time(ends),
            received=dict(filler.means.received),
            published=filler.published["objects"], evicted=filler.evicted,
            damaged=self._scrubber.damaged, scrubbed_bytes=self._scrubber.bytes_read,
            failures=filler.setbacks.failures, last_failure=filler.setbacks.last,
            dropped=self._dropped(), faults=self._faults(),
            is_open=filler.gate.is_open,
            window_changes=_time(None if window is None else window.next_change(time.time())),
            most_wanted=filler.compared.most_wanted,
        )  # fmt: skip

    def _state(self, sums: Sums, postponed: list[Waiting]) -> tuple[str, str]:
        filler = self._filler
        if filler.doing:
            return "filling", ""
        if not sums.parts[Kind.FETCH].objects:
            return ("waiting", sums.blocked) if sums.blocked else ("idle", "")
        if why := filler.gate.why_not():
            return "held" if filler.gate.is_open else "closed", why
        return "waiting", postponed[0].why if postponed else filler.setbacks.last

    def _dropped(self) -> list[Dropped]:
        means = self._filler.means
        now = means.clock()
        return [
            Dropped(
                origin=origin, strikes=record.strikes, for_s=round(record.until - now, 1),
                why=record.last,
            )
            for origin, record in islice(means.book.dropped(now), _MOST_DROPPED)
        ]  # fmt: skip

    def _faults(self) -> dict[str, int]:
        sums: Counter[str] = Counter()
        for (_, fault), count in self._filler.means.book.faults.items():
            sums[fault.value] += count
        return dict(sums)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(round(seconds), UTC)


class PaceRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why nothing new is to be fetched for a moment; empty ends it."""

    why: str = ""


def make_app(filler: Filler, scrubber: Scrubber, telling: Telling) -> web.Application:
    """The application; see docs/api.md for what control makes of it."""

    changing = asyncio.Lock()  # what is added to is the manifest that is replaced

    async def put_manifest(request: web.Request) -> web.Response:
        data = await request.read()
        async with changing:
            return await _take(filler, data)

    async def get_manifest(_: web.Request) -> web.StreamResponse:
        if filler.manifests.file is None:
            return _answer({"version": "", "objects": []})
        return web.FileResponse(filler.manifests.file, headers={"Content-Type": "application/json"})

    async def get_status(_: web.Request) -> web.Response:
        telling.sample()
        return _answer(telling.status())

    async def get_holdings(_: web.Request) -> web.Response:
        return _answer(filler.holdings.show())

    async def retry(_: web.Request) -> web.Response:
        filler.means.book.forgive()
        kicked = await filler.retry()
        filler.change()
        return _answer({"kicked": kicked})

    async def verify(_: web.Request) -> web.Response:
        await scrubber.ask()
        return web.Response(status=204)

    async def pace(request: web.Request) -> web.Response:
        filler.gate.hold(msgspec.json.decode(await request.read(), type=PaceRequest).why)
        return web.Response(status=204)

    app = web.Application(client_max_size=MOST_BODY_BYTES)
    app.router.add_put("/manifest", put_manifest)
    app.router.add_get("/manifest", get_manifest)
    app.router.add_get("/status", get_status)
    app.router.add_get("/holdings", get_holdings)
    app.router.add_get(r"/pieces/{sha256}/{number:\d{1,7}}", partial(_get_piece, filler))
    app.router.add_get("/plan", partial(_show_plan, filler))
    app.router.add_post("/add", partial(_add, filler, changing))
    app.router.add_post("/retry", retry)
    app.router.add_post("/verify", verify)
    app.router.add_post("/pace", pace)
    return app


async def _show_plan(filler: Filler, request: web.Request) -> web.Response:
    compared = await filler.compare()
    plan = compared.plan
    most = min(int(request.query.get("limit", "1000")), _MOST_SHOWN)
    kind = request.query.get("kind", "")
    actions = [action for action in plan.actions if not kind or action.kind == kind]
    sums = {kind.value: part for kind, part in compared.sums.parts.items()}
    rows = [
        {
            **msgspec.structs.asdict(action),
            "copies_per_day": round(compared.popularity.get(action.key, 0.0), 3),
        }
        for action in actions[:most]
    ]
    shown = {"actions": rows, "cut": max(0, len(actions) - most), "sums": sums}
    return _answer(shown)


async def _add(filler: Filler, changing: asyncio.Lock, request: web.Request) -> web.Response:
    data = await request.read()
    found = await asyncio.to_thread(_read_entries, data)
    if isinstance(found, web.Response):
        return found
    async with changing:
        merged = await asyncio.to_thread(_merge, filler.manifests.current, found)
        return await _take(filler, merged)


async def _get_piece(filler: Filler, request: web.Request) -> web.Response:
    sha256, number = request.match_info["sha256"], int(request.match_info["number"])
    try:
        found = await find_piece(filler, sha256, number)
    except OSError:
        found = Missing.ABSENT
    if isinstance(found, Missing):
        return web.Response(status=found.value)
    place = f"bytes {found.start}-{found.stop - 1}/{found.size}"
    return web.Response(status=206, body=found.data, headers={"Content-Range": place})


async def _take(filler: Filler, data: bytes) -> web.Response:
    try:
        manifest = await asyncio.to_thread(read_manifest, data)
    except ManifestError as error:
        return _answer({"faults": error.faults}, status=422)
    await asyncio.to_thread(filler.manifests.take, data, manifest)
    filler.change()
    return _answer({"version": str(manifest.version), "objects": len(manifest.objects)})


def _merge(current: Manifest, found: list[Entry]) -> bytes:
    kept = {entry.key: entry for entry in current.objects}
    kept.update({entry.key: entry for entry in found})
    version = f"{str(current.version).split('+')[0]}+{int(time.time())}"
    return msgspec.json.encode(Manifest(version=version, objects=list(kept.values())))


def _read_entries(data: bytes) -> list[Entry] | web.Response:
    """Judged as a manifest's are."""
    try:
        outline = msgspec.json.decode(data, type=dict[str, Any])
        whole = msgspec.json.encode({"version": "added", "objects": outline.get("objects")})
        return read_manifest(whole).objects
    except ManifestError as error:
        return _answer({"faults": error.faults}, status=422)
    except msgspec.MsgspecError as error:
        return _answer({"faults": [f"the body: {error}"]}, status=422)


def _answer(value: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )

"""What players are answered, whatever has become of appliances and clients."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ocaserve.fleet import originals
from ocaserve.fleet.originals import OriginalError, Originals
from ocaserve.settings.fleet import Fleet, FleetTokens
from ocaserve.settings.fleet_members import FleetAppliance
from tests.fleet.test_app import STEER, FleetApp
from tests.support.fleet import report
from tests.support.streams import close
from tests.support.waiting import until

MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow.m3u8\n"
MPD = "<MPD><Period/></MPD>"
HEARD = {"127.0.0.0/8": (1, 0)}


class Source:
    """An appliance's side: `content` by path; `asked`, the paths that were."""

    def __init__(self) -> None:
        self.content = {"/film/main.m3u8": MASTER, "/film/main.mpd": MPD, "/film/bad.mpd": "<x/>"}
        self.asked: list[str] = []
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self.server = TestServer(app)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path not in self.content:
            raise web.HTTPNotFound
        return web.Response(text=self.content[request.path])


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    made = Source()
    async with made.server:
        yield made


@pytest.fixture
async def app(source: Source) -> AsyncIterator[FleetApp]:
    """A control plane that knows two appliances, both of them this source."""
    url = str(source.server.make_url("/")).rstrip("/")
    settings = Fleet(
        appliance=[FleetAppliance(id=name, urls=[url]) for name in ("a", "b")],
        answer_ttl_s=20, clients_url="https://steer.example",
    )  # fmt: skip
    made = FleetApp(settings, FleetTokens(steer=[STEER]))
    async with made.operators, made.clients:
        yield made


async def get(app: FleetApp, path: str, status: int = 200, token: str = "") -> object:
    """The body. Whatever is answered, scripts of other origins may read it."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await app.call(app.clients, "GET", path, **headers)
    assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, "*")
    return answer.body


async def test_playlists(app: FleetApp, source: Source) -> None:
    """Both kinds, with both appliances and where to ask on; fetched once for all who ask."""
    await app.know(a=HEARD, b=HEARD)
    for _ in range(3):
        text = await get(app, "/play/film/main.m3u8?session=1")
        assert isinstance(text, bytes)
        assert text.count(b"#EXT-X-STREAM-INF") == 2
        assert b'SERVER-URI="https://steer.example/v1/steering/hls/' in text
        assert text.count(b"/film/low.m3u8") == 2
    mpd = await get(app, "/play/film/main.mpd")
    assert isinstance(mpd, bytes)
    assert mpd.count(b"<BaseURL serviceLocation=") == 2
    assert b">https://steer.example/v1/steering/dash/" in mpd
    assert source.asked == ["/film/main.m3u8", "/film/main.mpd"]


async def test_a_playlist_opens_a_session(app: FleetApp) -> None:
    """As a redirect does; scripts of pages may read it, and tell how it went."""
    await app.know(a=HEARD)
    for path in ("/play/film/main.m3u8", "/play/film/main.mpd"):
        answer = await app.call(app.clients, "GET", path)
        assert "OcaServe-Session" in answer.headers["access-control-expose-headers"].split(", ")
        told = {"session": answer.headers["ocaserve-session"], "failovers": 1}
        answer = await app.call(app.clients, "POST", "/v1/qoe", told, Origin="https://page.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (204, "*")
    assert app.state.journal.sessions == {"failed over": 2}
    asked = await app.call(app.clients, "OPTIONS", "/v1/qoe", Origin="https://page.example")
    assert (asked.status, asked.headers["access-control-allow-origin"]) == (200, "*")
    assert "POST" in asked.headers["access-control-allow-methods"].split(", ")


async def test_who_plays_on_takes_no_more(app: FleetApp) -> None:
    """A live player asks at each refresh."""
    await app.know(a=HEARD)
    for _ in range(20):
        await get(app, "/play/film/main.mpd")
    granted = app.state.granted("a", time.monotonic())
    assert 0 < granted <= 2 * app.state.settings.client_bits_per_s  # of two minutes


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/play/film/other.m3u8", 404),
        ("/play/film/main.mp4", 404),
        ("/play/film/main", 404),
        ("/play/film/..%2fmain.mpd", 404),
        ("/play/film/bad.mpd", 502),
        ("/play/film/main.mpd?ip=nobody", 401),
    ],
)
async def test_what_cannot_be_played(app: FleetApp, path: str, status: int) -> None:
    await app.know(a=HEARD)
    await get(app, path, status)


async def test_client_of_nobody(app: FleetApp) -> None:
    """Another client's, for who may steer; and one whom no appliance hears."""
    await app.know(a={"11.0.0.0/8": (1, 0)})
    await get(app, "/play/film/main.mpd", 404)
    await get(app, "/play/film/main.mpd?ip=11.1.1.1", token=STEER)
    assert (
        await app.tell(report("a", {}, serial=2, after=1, health={"takes_traffic": False})) == 204
    )
    await get(app, "/play/film/main.mpd?ip=11.1.1.1", 503, STEER)


async def test_steering_is_always_answered(app: FleetApp) -> None:
    """A player that is refused once may never ask again."""
    for kind in ("hls", "dash"):
        path = f"/v1/steering/{kind}/a,b/film/main.mpd?_DASH_pathway=%22b%22&x=1&x=2"
        manifest = await get(app, path)
        assert isinstance(manifest, dict)
        assert manifest["VERSION"] == 1
        assert manifest["TTL"] == 20
        assert manifest["PATHWAY-PRIORITY"] == ["a", "b"]
        assert (
            manifest["RELOAD-URI"] == f"https://steer.example/v1/steering/{kind}/a,b/film/main.mpd"
        )
        assert ("SERVICE-LOCATION-PRIORITY" in manifest) == (kind == "dash")


async def test_steering_follows_what_is_reported(app: FleetApp) -> None:
    await app.know(a=HEARD, b={"127.0.0.0/8": (2, 0)})
    path = "/v1/steering/hls/a,b/film/main.m3u8"

    async def priority() -> object:
        manifest = await get(app, path)
        assert isinstance(manifest, dict)
        return manifest["PATHWAY-PRIORITY"]

    assert await priority() == ["a", "b"]
    away = {"state": "draining", "takes_traffic": False, "level": "ok"}
    assert await app.tell(report("a", {}, serial=2, after=1, health=away)) == 204
    assert await priority() == ["b", "a"]


async def test_later_appliance_is_a_clone(app: FleetApp) -> None:
    """Of a playlist that was made before it came."""
    await app.know(a=HEARD, b=HEARD)
    manifest = await get(app, "/v1/steering/hls/a/film/main.m3u8")
    assert isinstance(manifest, dict)
    assert manifest["PATHWAY-CLONES"] == [
        {"BASE-ID": "a", "ID": "b", "URI-REPLACEMENT": {"HOST": "127.0.0.1"}}
    ]
    assert manifest["PATHWAY-PRIORITY"][0] == "a"


async def test_path_that_no_playlist_names(app: FleetApp) -> None:
    await get(app, "/v1/steering/hls/a%20b/film/main.m3u8", 422)


async def test_appliance_that_hangs_stops_playlists_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who plays is steered on, and redirects are given, however many wait for a playlist."""
    monkeypatch.setattr(originals, "_TRY_S", 60.0)
    is_over = asyncio.Event()

    async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_over.wait()
        await close(writer)

    hung = await asyncio.start_server(hang, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{hung.sockets[0].getsockname()[1]}"
    app = FleetApp(Fleet(appliance=[FleetAppliance(id="a", urls=[url])]), FleetTokens())
    monkeypatch.setattr(originals, "_MOST_WAITING", 8)
    async with hung, app.operators, app.clients:
        await app.know(a=HEARD)
        film = "/play/film/main.mpd"
        waiting = [asyncio.create_task(app.call(app.clients, "GET", film)) for _ in range(8)]
        await until(lambda: app.clients.desk.originals.waiting == 8)
        await get(app, film, 503)
        await get(app, "/v1/steering/dash/a/film/main.mpd")
        assert (await app.call(app.clients, "GET", "/r/film/main.mpd")).status == 307
        is_over.set()
        assert {each.status for each in await asyncio.gather(*waiting)} == {502}


# -- the objects' own playlists ------------------------------------------------------------------


@pytest.fixture
async def fetched() -> AsyncIterator[Originals]:
    made = Originals()
    yield made
    await made.close()


async def test_next_one_is_asked(fetched: Originals, source: Source) -> None:
    """Whether the first is gone, or has it not; and only all of them can say that there is none."""
    url = str(source.server.make_url("/film/main.mpd"))
    gone, absent = "http://127.0.0.1:1/x", str(source.server.make_url("/none"))
    assert await fetched.get(b"1", [gone, absent, url]) == MPD.encode()
    for urls, is_absent in (([absent, absent], True), ([gone, absent], False), ([gone], False)):
        with pytest.raises(OriginalError) as caught:
            await fetched.get(b"2", urls)
        assert caught.value.is_absent is is_absent


async def test_old_one_is_good_while_no_appliance_answers(
    fetched: Originals, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not where it was taken away."""
    monkeypatch.setattr(originals, "FRESH_S", 0.0)
    url = str(source.server.make_url("/film/main.mpd"))
    assert await fetched.get(b"1", [url]) == MPD.encode()
    assert await fetched.get(b"1", ["http://127.0.0.1:1/x"]) == MPD.encode()
    del source.content["/film/main.mpd"]
    with pytest.raises(OriginalError):
        await fetched.get(b"1", [url])


async def test_too_large(fetched: Originals, source: Source) -> None:
    source.content["/film/main.mpd"] = "x" * (5 << 20)
    with pytest.raises(OriginalError, match="more than"):
        await fetched.get(b"1", [str(source.server.make_url("/film/main.mpd"))])


async def test_what_is_kept_is_bounded(
    fetched: Originals, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest goes."""
    monkeypatch.setattr(originals, "_MOST_KEPT_BYTES", 2 * len(MPD))
    url = str(source.server.make_url("/film/main.mpd"))
    for key in (b"1", b"2", b"3", b"3", b"1"):
        await fetched.get(key, [url])
    assert len(source.asked) == 4

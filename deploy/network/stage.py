"""The page of the network: what each part does now, a film, and buttons to break things.

Who may press them can kill the parts, so it answers on loopback alone, and not to pages of other
sites.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from parts import APPLIANCES, CUSTOMERS, FILM, SITES, TOKEN, NetworkError, Part, Ports, Router

from ocaserve.control.auth import caller_of, is_name_of_loopback, refuse_other_sites
from ocaserve.control.problems import Problem, answer_problem

_LOOK_S = 0.5
_MOST_EVENTS = 100
_FILES = {
    "/": ("deploy", "network.html", "text/html"),
    "/network.js": ("deploy", "network.js", "text/javascript"),
    "/follow.html": ("ocaserve.demo", "follow.html", "text/html"),
    "/follow.js": ("ocaserve.demo", "follow.js", "text/javascript"),
}


class Stage:
    """The parts, what was done to them, and what the control plane says of them."""

    def __init__(self, parts: Mapping[str, Part], router: Router, ports: Ports) -> None:
        self.parts, self.router, self.ports = parts, router, ports
        self.events: deque[dict[str, str]] = deque(maxlen=_MOST_EVENTS)
        self.appliances: dict[str, dict[str, Any]] = {}
        self.is_fleet_there = False

    def note(self, text: str) -> None:
        self.events.appendleft({"at": time.strftime("%X"), "text": text})

    def show(self) -> dict[str, Any]:
        """For the page."""
        return {
            "parts": [
                {
                    "name": name,
                    "site": part.site,
                    "running": part.is_running,
                    "told": self.appliances.get(name),
                    "url": self._page_of(name),
                }
                for name, part in self.parts.items()
            ],
            "fleet": self.is_fleet_there,
            "router": self.router.is_real,
            "announced": self.router.announced,
            "customers": CUSTOMERS,
            "token": TOKEN,
            "events": list(self.events),
        }

    def _page_of(self, name: str) -> str:
        if name == "fleet":
            return f"http://127.0.0.1:{self.ports.fleet}/"
        if name in APPLIANCES:
            return f"http://{APPLIANCES[name]}:{self.ports.control}/"
        return ""

    async def keep_looking(self, session: aiohttp.ClientSession) -> None:
        """Ask the control plane again and again, and note what changes."""
        while True:
            try:
                found = await self.ask(session, "GET", "/v1/appliances")
            except NetworkError:
                found = None
            if self.is_fleet_there is not (found is not None):
                self.is_fleet_there = found is not None
                self.note(f"the control plane {'answers' if found else 'does not answer'}")
            if found is not None:
                self._compare({each["id"]: each for each in found["appliances"]})
            await asyncio.sleep(_LOOK_S)

    def _compare(self, found: dict[str, dict[str, Any]]) -> None:
        for name, each in found.items():
            before = self.appliances.get(name)
            if before is None or before["fault"] != each["fault"]:
                self.note(f"{name}: {each['fault'] or 'takes clients'}")
            elif before["networks"] != each["networks"]:
                self.note(f"{name}: hears {each['networks']} networks")
        self.appliances = found

    async def ask(
        self, session: aiohttp.ClientSession, method: str, path: str, body: Any = None
    ) -> Any:
        """The control plane. Raises NetworkError."""
        is_client = path == "/v1/steer"
        url = f"http://127.0.0.1:{self.ports.clients if is_client else self.ports.fleet}{path}"
        headers = {} if is_client else {"Authorization": f"Bearer {TOKEN}"}
        try:
            async with session.request(method, url, json=body, headers=headers) as answer:
                said = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NetworkError(f"the control plane does not answer: {error}") from error
        if answer.status != 200:
            raise NetworkError(f"the control plane refuses: {said.get('detail')}")
        return said

    async def do(self, session: aiohttp.ClientSession, what: str, name: str) -> None:
        """What a button says. Raises NetworkError."""
        match what:
            case "kill" if name in self.parts:
                self.note(f"you kill {name}")
                await asyncio.to_thread(self.parts[name].kill)
            case "start" if name in self.parts:
                self.note(f"you start {name}")
                self.parts[name].start()
            case "drain" | "enable" if name in APPLIANCES:
                self.note(f"you {what} {name}")
                await self.ask(session, "POST", f"/v1/{what}", {"appliances": [name]})
            case "withdraw" | "announce" if name in SITES:
                self.note(f"you have the router {what} the routes of {name}")
                is_announced = what == "announce"
                await asyncio.to_thread(self.router.announce, name, is_announced=is_announced)
            case _:
                raise NetworkError(f"{what} {name}: there is no such button")


STAGE: web.AppKey[Stage] = web.AppKey("STAGE", Stage)
SESSION: web.AppKey[aiohttp.ClientSession] = web.AppKey("SESSION", aiohttp.ClientSession)


async def serve_stage(stage: Stage, told: str) -> None:
    """Answer until the process is told to end. told: printed when every part is there."""
    app = web.Application(middlewares=[_guard])
    app[STAGE] = stage
    for path, (place, file, media) in _FILES.items():
        app.router.add_get(path, _shower(place, file, media))
    app.router.add_get("/state", _show_state)
    app.router.add_get("/urls", _show_urls)
    app.router.add_post("/do", _do)
    is_over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, is_over.set)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        app[SESSION] = session
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        looking = asyncio.create_task(stage.keep_looking(session))
        try:
            await web.TCPSite(runner, "127.0.0.1", stage.ports.page).start()
            print(told, flush=True)
            await is_over.wait()
        except OSError as error:
            raise NetworkError(f"port {stage.ports.page}: {error}; try --port") from error
        finally:
            looking.cancel()
            await runner.cleanup()


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    if not is_name_of_loopback(request.host):
        return answer_problem(Problem(421, "only localhost and addresses are answered to"))
    try:
        refuse_other_sites(caller_of(request))
        return await handler(request)
    except Problem as problem:
        return answer_problem(problem)
    except NetworkError as error:
        return answer_problem(Problem(409, str(error)))


def _shower(place: str, file: str, media: str) -> Handler:
    folder = Path(__file__).parent if place == "deploy" else resources.files(place)

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=(folder / file).read_bytes(), content_type=media, charset="utf-8")

    return show


async def _show_state(request: web.Request) -> web.Response:
    return web.json_response(request.app[STAGE].show())


async def _show_urls(request: web.Request) -> web.Response:
    """The control plane's answer for a viewer of a site, for the player; and where that tells how it
    went.
    """
    site = request.query.get("site", "")
    if site not in CUSTOMERS:
        raise Problem(404, f"there is no site {site!r}")
    client = CUSTOMERS[site].replace(".0/24", ".7")
    asked = {"client": {"ip": client}, "objects": [FILM]}
    app = request.app
    answer = await app[STAGE].ask(app[SESSION], "POST", "/v1/steer", asked)
    qoe = f"http://127.0.0.1:{app[STAGE].ports.clients}/v1/qoe"
    return web.json_response(answer | {"qoe": qoe})


async def _do(request: web.Request) -> web.Response:
    try:
        asked = await request.json()
        what, name = str(asked["what"]), str(asked["name"])
    except (ValueError, KeyError, TypeError) as error:
        raise Problem(400, 'the body must be {"what": …, "name": …}') from error
    await request.app[STAGE].do(request.app[SESSION], what, name)
    return web.json_response(request.app[STAGE].show())

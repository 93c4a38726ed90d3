"""The dashboard: a page, and a stream of what it shows.

The page is for anyone, since it holds no figures. The stream is for who may read, and the page
sends a token with it where one is needed.
"""

from __future__ import annotations

from importlib import resources

from aiohttp import web

from ocaserve.control.auth import Role
from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.control.lanes import Lane
from ocaserve.control.snapshots import SNAPSHOTS
from ocaserve.control.views.dashboard import DashboardShown, describe_dashboard, sum_ledger

# Nothing from elsewhere, nothing inline, and no page of another site around this one.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def show_dashboard(call: Call) -> DashboardShown:
    return describe_dashboard(call.request.app, await sum_ledger(call.request.app))


async def stream_dashboard(call: Call) -> web.StreamResponse:
    """One event a second, each the whole of what `/v1/dashboard` tells."""
    snapshots = call.request.app[SNAPSHOTS]
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    response = web.StreamResponse(headers=headers)
    await response.prepare(call.request)
    if call.request.method == "HEAD":
        return response
    snapshots.viewers += 1
    try:
        await snapshots.renew(call.request.app)
        while True:
            if snapshots.latest:
                await response.write(snapshots.latest)
            await snapshots.wait()
    finally:
        snapshots.viewers -= 1


def page_part(path: str, file: str, media: str, package: str = "ocaserve.control") -> Endpoint:
    """A file of a dashboard, read when the program starts. package: whose folder it lies in."""
    data = (resources.files(package) / "dashboard" / file).read_bytes()

    async def show(_: Call) -> web.Response:
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(body=data, content_type=media, charset="utf-8", headers=headers)

    summary = f"The dashboard: {file}"
    return Endpoint("GET", path, show, summary, "a file", role=Role.ANYONE, media=media)


ENDPOINTS = (
    page_part("/", "index.html", "text/html"),
    page_part("/dashboard/style.css", "style.css", "text/css"),
    *(
        page_part(f"/dashboard/{name}.js", f"{name}.js", "text/javascript")
        for name in ("script", "asking", "chart", "format", "panels", "tables")
    ),
    Endpoint("GET", "/v1/dashboard", show_dashboard, "What the dashboard shows", DashboardShown),
    Endpoint(
        "GET",
        "/v1/dashboard/events",
        stream_dashboard,
        "The same each second, as server-sent events",
        "events without a name",
        media="text/event-stream",
        lane=Lane.STREAMING,
    ),
)

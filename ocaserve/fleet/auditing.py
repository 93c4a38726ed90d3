"""The endpoint by which operators see where appliances of a site are not alike."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from ocaserve.control.endpoints import Call, Endpoint
from ocaserve.fleet.app_keys import FLEET
from ocaserve.fleet.fleet_shapes import LackShown, SiteAudit
from ocaserve.fleet.site_audit import Lack, audit_content, audit_routes
from ocaserve.fleet.tables import Table


async def audit_sites(call: Call) -> SiteAudit:
    """Of those that have reported of late: what others hear now says nothing of a silent one."""
    state, now = call.request.app[FLEET], time.monotonic()
    tables: dict[str, dict[str, Table]] = {}
    for name, member in sorted(state.members.items()):
        if now - member.heard_at <= state.settings.report_ttl_s:
            tables.setdefault(state.site_of(name).id, {})[name] = member.copy.table
    plans = {site: state.stock.plan_of(site) for site in tables}
    presence = state.stock.presence

    def audit() -> Iterator[LackShown]:
        for site, heard in sorted(tables.items()):
            plan = plans[site]
            yield from (_show(site, each) for each in audit_routes(heard))
            if plan is not None:
                yield from (_show(site, each) for each in audit_content(plan, presence))

    return SiteAudit(lacks=await asyncio.to_thread(lambda: list(audit())))


def _show(site: str, lack: Lack) -> LackShown:
    return LackShown(
        site=site,
        appliance=lack.appliance,
        what=lack.what,
        lacks=lack.lacks,
        of=lack.of,
        examples=list(lack.examples),
    )


ENDPOINTS = (
    Endpoint(
        "GET", "/v1/audit", audit_sites,
        "What appliances lack that others of their site have, or that they are to hold", SiteAudit,
    ),
)  # fmt: skip

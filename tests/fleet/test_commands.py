"""What the commands show of a control plane."""

from __future__ import annotations

import asyncio

from click.testing import CliRunner

from ocaserve.cli import main
from ocaserve.settings.fleet import Fleet, FleetTokens
from tests.fleet.test_app import WIDE, FleetApp, run
from tests.support.fleet import report

RED = "\x1b[31m"


async def show(app: FleetApp, *words: str) -> str:
    where = f"127.0.0.1:{app.operators.port}"
    done = await asyncio.to_thread(CliRunner().invoke, main, ["fleet", *words, "--fleet", where])
    return done.output


async def test_terminals_obey_nobody_who_reports() -> None:
    """Ids, sites, networks and reasons are shown with what is not printable escaped."""
    async for app in run(Fleet(), FleetTokens()):
        away = {"state": "draining", "takes_traffic": False, "reasons": [f"{RED}fans\r\nb"]}
        other = WIDE | {"12.0.0.0/8": (1, 0)}
        assert await app.tell(report(f"a{RED}", WIDE, site=f"s{RED}", health=away)) == 204
        assert await app.tell(report("b", other, site=f"s{RED}")) == 204
        await app.know()
        assert "draining: \\x1b[31mfans\\r\\nb" in await show(app, "appliances")
        assert "a\\x1b[31m" in await show(app, "explain", "11.1.1.1")
        assert "a\\x1b[31m" in await show(app, "audit")
        for words in (["appliances"], ["explain", "11.1.1.1"], ["audit"], ["status"]):
            assert "\x1b" not in await show(app, *words)

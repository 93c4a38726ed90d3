"""Decisions with policies: who is passed over, drawn and put in order, told, recorded, replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import Mock

import msgspec
import psutil
import pytest

from ocaserve.fleet.policy_endpoints import OFFICE
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.recorded_decisions import read_decision, replay
from ocaserve.policies.bundles import Bundle, make_bundle
from ocaserve.policies.in_force import FigureRow, PoliciesInForce, as_texts
from ocaserve.settings.fleet import FleetTokens
from ocaserve.settings.fleet_members import FleetAppliance
from tests.fleet.test_app import SETTINGS, WIDE, FleetApp, run
from tests.support.waiting import until

LABELLED = msgspec.structs.replace(
    SETTINGS,
    decision_log_share=1.0,
    appliance=[
        FleetAppliance(
            id=name, site=site, urls=[f"https://{name}.example.net"], labels={"machine": machine}
        )
        for name, site, machine in (("a", "one", "old"), ("b", "one", "new"), ("z", "two", "new"))
    ],
)
OBJECTS = [f"film-{number}.mp4" for number in range(300)]


def program(text: str, name: str = "p") -> Bundle:
    return make_bundle(name, {f"{name}.star": text})


class Policies:
    """In force at an application, until the block ends."""

    def __init__(self, app: FleetApp) -> None:
        self.app = app
        self.desk = app.clients.decider.policing.desk
        fetch = self.desk.fetch
        # A busy machine answers late, and then the built-in rule counts: other tests are of that.
        self.desk.fetch = lambda missing, wait_s=10.0: fetch(missing, wait_s)  # type: ignore[method-assign]

    def figures_of(self, bundle: Bundle) -> FigureRow:
        """What is known of one at the office."""
        office: PolicyOffice = self.app.operators.app[OFFICE]
        told = self.app.clients.decider.policing.take_notes()
        for notes in (*self.app.state.journal.take_policy_notes(), told):
            if notes is not None:
                office.hear(notes)
        return office.heard.get(bundle.version, FigureRow())

    async def put(self, *live: Bundle, canary: Bundle | None = None, share: float = 0.0) -> None:
        """Shown to the worker as well, and its processes are there."""
        of_canary = as_texts([canary]) if canary else ()
        now = PoliciesInForce(1, as_texts(live), of_canary, 7 if canary else 0, share)
        await self.app.state.policing.show(now)
        self.app.state.show_policies(now)
        await self.app.clients.look()


@pytest.fixture
async def policies() -> AsyncIterator[Policies]:
    async with asynccontextmanager(run)(LABELLED, FleetTokens()) as app:
        await app.know(a=WIDE, b=WIDE, z=WIDE)
        found = Policies(app)
        yield found


async def firsts(app: FleetApp, client: str = "11.1.1.1") -> Counter[str]:
    """Who is the first, of how many objects."""
    answer = await app.serve(client, *OBJECTS)
    return Counter(urls[0].split("/")[2][0] for urls in answer["objects"].values() if urls)


async def test_who_is_refused_is_passed_over(policies: Policies) -> None:
    app = policies.app
    assert set(await firsts(app)) == {"a", "b"}
    old = program(
        "def admit(client, server):\n"
        "    return 'an old machine' if server.labels.get('machine') == 'old' else True\n"
    )
    await policies.put(old)
    assert set(await firsts(app)) == {"b"}
    answer = await app.serve("11.1.1.1")
    assert answer["skipped"] == [{"server": "a", "why": "policy", "reason": "an old machine"}]
    told = await app.look("/v1/explain?ip=11.1.1.1&key=film.mp4")
    assert told["policies"] == [f"p@{old.version[:12]}"]
    assert "a of site 'one': by policy: an old machine" in told["because"]
    assert {each["server"]: each["why"] for each in told["candidates"]}["a"].startswith("by policy")


async def test_weights_multiply_shares(policies: Policies) -> None:
    await policies.put(
        program("def weight(client, server, object):\n    return 3 if server.id == 'a' else 1\n")
    )
    found = await firsts(policies.app)
    assert 0.62 <= found["a"] / len(OBJECTS) <= 0.88  # three quarters are expected
    await policies.put(
        program("def weight(client, server, object):\n    return 0 if server.id == 'a' else 1\n")
    )
    assert await firsts(policies.app) == {"b": len(OBJECTS)}


async def test_order_is_of_those_chosen(policies: Policies) -> None:
    await policies.put(
        program(
            "def order(client, servers):\n"
            "    return sorted(servers, key=lambda each: each.site != 'two')\n"
        )
    )
    assert await firsts(policies.app) == {"z": len(OBJECTS)}
    answer = await policies.app.serve("11.1.1.1", *OBJECTS)
    seconds = Counter(urls[1].split("/")[2][0] for urls in answer["objects"].values())
    assert set(seconds) == {"a", "b"}, "of equals each is drawn, as without"


async def test_by_the_sort_of_object(policies: Policies) -> None:
    live = program(
        "def admit(client, server):\n    return True\n\n"
        "def weight(client, server, object):\n"
        "    return 0 if object.folder == 'live' and server.id == 'a' else 1\n"
    )
    await policies.put(live)
    answer = await policies.app.serve("11.1.1.1", "live/one.ts", *OBJECTS)
    urls = answer["objects"]
    assert urls["live/one.ts"][0].startswith("https://b.")
    assert any(each[0].startswith("https://a.") for each in urls.values())


async def test_several_policies_together(policies: Policies) -> None:
    await policies.put(
        program("def admit(client, server):\n    return server.id != 'a'\n", "one"),
        program("def admit(client, server):\n    return server.id != 'b'\n", "two"),
    )
    assert await firsts(policies.app) == {"z": len(OBJECTS)}
    (answer,) = [await policies.app.serve("11.1.1.1")]
    assert [each["reason"] for each in answer["skipped"]] == ["one refuses it", "two refuses it"]


async def test_a_canary_is_for_a_part_of_the_networks(policies: Policies) -> None:
    other = program("def admit(client, server):\n    return server.id == 'z'\n")
    await policies.put(canary=other, share=0.25)
    clients = [f"11.{second}.{third}.1" for second in range(20) for third in range(20)]
    moved = [each for each in clients if set(await firsts_of(policies.app, each)) == {"z"}]
    assert 70 <= len(moved) <= 130  # 100 of 400 are expected
    again = [each for each in moved if set(await firsts_of(policies.app, each)) == {"z"}]
    assert again == moved


async def firsts_of(app: FleetApp, client: str) -> list[str]:
    answer = await app.serve(client, "film.mp4")
    return [urls[0].split("/")[2][0] for urls in answer["objects"].values()]


async def test_what_is_recorded_is_decided_again(policies: Policies) -> None:
    """From the lines alone, without the policy, bit for bit."""
    lines: list[bytes] = []
    policies.app.clients.decider.notes.log = Mock(write=lines.append, taken=0, dropped=0)
    await policies.put(
        program(
            "def admit(client, server):\n    return server.id != 'b'\n\n"
            "def weight(client, server, object):\n    return 2.5\n\n"
            "def order(client, servers):\n    return reversed(servers)\n"
        )
    )
    answer = await policies.app.serve("11.1.1.1", *OBJECTS)
    (row,) = [read_decision(each) for each in lines]
    assert row.policies[0].startswith("p@")
    assert list(replay(row)) == []
    assert row.objects["film-0.mp4"] == ["z", "a"]
    assert answer["objects"]["film-0.mp4"][0].startswith("https://z.")
    changed = msgspec.structs.replace(row, refused={})
    assert list(replay(changed)), "what it said counts"


FAILING = "def admit(client, server):\n    fail('planned')\n"


async def test_a_policy_that_fails_is_done_without_and_switched_off(policies: Policies) -> None:
    app, bad = policies.app, program(FAILING)
    await policies.put(bad)
    for number in range(7):
        assert set(await firsts(app, f"11.1.{number}.1")) == {"a", "b"}
    figures = policies.figures_of(bad)
    assert figures.off_because.startswith("5 faults within a minute, the last: p.star:2")
    assert figures.last_fault == "p.star:2: planned"
    assert '"servers"' in figures.last_question
    assert policies.desk.live is not None
    assert policies.desk.live.bundles == ()


async def test_a_killed_process_costs_no_answer(policies: Policies) -> None:
    app = policies.app
    await policies.put(program("def admit(client, server):\n    return server.id != 'a'\n"))
    assert set(await firsts(app)) == {"b"}
    for each in psutil.Process().children():
        if "ocaserve.policies.process" in each.cmdline():
            each.kill()
    assert set(await firsts(app)) == {"b"}, "it is in memory"
    app.clients.decider.rankings.clear()
    assert set(await firsts(app)) == {"b"}
    await until(lambda: policies.desk.in_force.is_up)


async def test_what_if_asks_policies(policies: Policies) -> None:
    """Those in force: whom they refuse, what they weigh, the order that they want; and no fault of
    what is only imagined is theirs.
    """
    app, clients = policies.app, [f"11.{second}.1.1" for second in range(120)]
    strange = program(
        "def admit(client, server):\n"
        "    return server.id != 'a' if client.network == '11.0.0.0/8' else fail('planned')\n\n"
        "def weight(client, server, object):\n"
        "    return 3 if server.id == 'b' and object.suffix == '.mp4' else 1\n\n"
        "def order(client, servers):\n"
        "    return reversed(servers) if client.hour < 99 else servers\n"
    )
    await policies.put(strange)
    firsts = Counter([name for each in clients for name in await firsts_of(app, each)])
    answer = await app.call(app.operators, "POST", "/v1/what-if", {"lose": {"appliances": ["z"]}})
    found = answer.body
    assert found["policies"] == [f"p@{strange.version[:12]}"]
    loads = {each["id"]: each for each in found["appliances"]}
    rate = app.state.settings.client_bits_per_s
    before = {name: load["before_bits_per_s"] / rate for name, load in loads.items()}
    assert before == pytest.approx({**dict.fromkeys(before, 0.0), **firsts}, abs=12)
    assert loads["b"]["after_bits_per_s"] == len(clients) * rate
    assert [(each["from"], each["to"]) for each in found["moves"]] == [("z", "b")]
    assert any("64 draws stand for all" in each for each in found["limits"])
    assert not any("in time" in each for each in found["limits"])
    assert not app.state.policing.desk.take_figures(), "nobody was asked for a client"


async def test_what_if_of_a_canary(policies: Policies) -> None:
    """For those networks that it is for; without it for the others."""
    other = program("def admit(client, server):\n    return server.id == 'z'\n")
    await policies.put(canary=other, share=0.25)
    clients = [f"11.{second}.{third}.1" for second in range(10) for third in range(10)]
    moved = [each for each in clients if set(await firsts_of(policies.app, each)) == {"z"}]
    asked = {"lose": {"appliances": ["z"]}}
    found = (await policies.app.call(policies.app.operators, "POST", "/v1/what-if", asked)).body
    rate = policies.app.state.settings.client_bits_per_s
    assert [(each["cause"], each["after_bits_per_s"] / rate) for each in found["unserved"]] == [
        ("policy", len(moved))
    ]


async def test_answers_are_kept(policies: Policies) -> None:
    """By what the program looks at: for all clients and objects, where it looks at none."""
    app = policies.app
    blind = program("def admit(client, server):\n    return server.id != 'a'\n")
    await policies.put(blind)
    for number in range(20):
        await app.serve(f"11.1.{number}.1", *OBJECTS)
    assert policies.figures_of(blind).asked == 1
    app.clients.decider.rankings.clear()
    await app.serve("11.1.1.1", *OBJECTS)
    assert policies.figures_of(blind).asked == 1

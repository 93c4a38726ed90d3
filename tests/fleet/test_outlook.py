"""What operators plan with, over HTTP: drains, what-if, shed figures, footprints for others."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from ocaserve.fleet.demand import DemandRow, RecentDemand
from ocaserve.settings.fleet import FleetTokens
from tests.fleet.test_app import NARROW, SETTINGS, WIDE, FleetApp, run
from tests.support.fleet import Answer, report

OPERATOR = "a-token-for-those-who-operate"


@pytest.fixture
async def app() -> AsyncIterator[FleetApp]:
    async for each in run(SETTINGS, FleetTokens(operate=[OPERATOR])):
        yield each


async def tell(app: FleetApp, path: str, body: Any) -> Answer:
    token = {"Authorization": f"Bearer {OPERATOR}"}
    return await app.call(app.operators, "POST", path, body, **token)


async def foresee(app: FleetApp, **lost: list[str]) -> Any:
    answer = await app.call(app.operators, "POST", "/v1/what-if", {"lose": lost})
    assert answer.status == 200, answer.body
    return answer.body


async def test_drain_is_seen_at_once(app: FleetApp) -> None:
    """In the next answer, with the reason; and the appliance's own word does not undo it."""
    await app.know(a=WIDE, z=WIDE)
    drained = (await tell(app, "/v1/drain", {"appliances": ["a"], "reason": "fans"})).body
    assert [(each["appliance"], each["reason"]) for each in drained["drains"]] == [("a", "fans")]
    assert await app.tell(report("a", WIDE, site="", serial=2)) == 204
    found = await app.serve("11.1.1.1")
    assert [each["id"] for each in found["servers"]] == ["z"]
    assert found["skipped"] == [{"server": "a", "why": "H", "reason": "drained here: fans"}]
    assert (await tell(app, "/v1/enable", {"sites": ["one"]})).body == {"drains": []}
    assert len((await app.serve("11.1.1.1"))["servers"]) == 2


async def test_who_may_drain(app: FleetApp) -> None:
    answer = await app.call(app.operators, "POST", "/v1/drain", {"appliances": ["a"]})
    assert answer.status == 401
    answer = await tell(app, "/v1/drain", {"appliances": ["nobody"], "sites": ["nowhere"]})
    assert answer.status == 422
    assert answer.body["faults"] == [
        "appliances: 'nobody' is not known",
        "sites: 'nowhere' is not known",
    ]


async def test_what_if(app: FleetApp) -> None:
    """What would move where, what would be too much, who would have nobody; nothing changes."""
    little = {"total_bits_per_s": 12e6, "free_bits_per_s": 12e6}
    assert await app.tell(report("z", WIDE, site="", capacity=little)) == 204
    await app.know(a=WIDE | {"13.0.0.0/8": (1, 0)}, b=NARROW)
    for client in ("11.1.1.1", "11.1.1.2", "11.1.2.1", "13.1.1.1", "14.1.1.1"):
        await app.serve(client)
    found = await foresee(app, appliances=["a", "b"])
    assert (found["clients"], found["unserved_clients"]) == (5, 1)
    assert [(each["from"], each["to"], each["bits_per_s"]) for each in found["moves"]] == [
        ("b", "z", 12e6),
        ("a", None, 5e6),
        ("b", None, 3e6),
    ]
    assert found["overloaded"] == ["z"]
    (z,) = [each for each in found["appliances"] if each["id"] == "z"]
    assert (z["asked_bits_per_s"], z["after_bits_per_s"], z["full"]) == (15e6, 12e6, True)
    assert found["unserved"] == [
        {"cause": "coverage", "before_bits_per_s": 5e6, "after_bits_per_s": 5e6},
        {"cause": "health", "before_bits_per_s": 0.0, "after_bits_per_s": 5e6},
        {"cause": "capacity", "before_bits_per_s": 0.0, "after_bits_per_s": 3e6},
    ]
    assert (await app.look("/v1/dashboard"))["unserved_clients"] == 1
    assert [each["network"] for each in found["uncovered"]] == ["13.1.1.0/24"]
    assert (await foresee(app, sites=["one"]))["moves"] == found["moves"]
    assert (await foresee(app, prefixes=["13.0.0.0/8"]))["uncovered_bits_per_s"] == 5e6
    assert (await foresee(app))["moves"] == []
    assert (await app.serve("11.1.1.1"))["servers"][0]["id"] == "b"


async def test_what_if_is_what_workers_do_then(app: FleetApp) -> None:
    """What is moved fills the next one, whose overflow goes on to the next after that."""
    rate = SETTINGS.client_bits_per_s
    sizes = {"a": 200, "b": 12, "z": 40}
    for length, (name, size) in enumerate(sizes.items(), 1):
        capacity = dict.fromkeys(("total_bits_per_s", "free_bits_per_s"), size * rate)
        document = report(name, {"11.0.0.0/8": (length, 0)}, site="", capacity=capacity)
        assert await app.tell(document) == 204
    await app.know()
    clients = [f"11.2.{number}.1" for number in range(60)]
    assert await count_firsts(app, clients) == {"a": 60}
    found = await foresee(app, appliances=["a"])
    assert found["overloaded"] == ["b", "z"]
    assert [(each["from"], each["to"], each["clients"]) for each in found["moves"]] == [
        ("a", "z", 40),
        ("a", "b", 12),
        ("a", None, 8),
    ]
    await tell(app, "/v1/drain", {"appliances": ["a"]})
    assert await count_firsts(app, clients) == {"b": 12, "z": 40, "": 8}


async def count_firsts(app: FleetApp, clients: list[str]) -> Counter[str]:
    """Of whom each is the first; nobody: empty."""
    answers = [await app.serve(each) for each in clients]
    return Counter(each["servers"][0]["id"] if each["servers"] else "" for each in answers)


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        ({"appliances": ["nobody"]}, "'nobody'"),
        ({"prefixes": ["11.0.0.0/8", "12.0.0.0/8"]}, "lose.prefixes[1]: no appliance hears"),
        ({"prefixes": ["11.0.0/8"]}, "'11.0.0/8'"),
        ({"moons": []}, "moons"),
    ],
)
async def test_what_cannot_be_lost_is_named(app: FleetApp, lost: Any, says: str) -> None:
    await app.know(a=WIDE)
    answer = await app.call(app.operators, "POST", "/v1/what-if", {"lose": lost})
    assert answer.status == 422
    assert says in answer.body["detail"] + "".join(answer.body.get("faults", []))


async def test_demand_is_summed_in_a_thread(app: FleetApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many networks it takes long, in which clients are to be answered."""
    threads, rows = [], RecentDemand.rows

    def watched(recent: RecentDemand) -> tuple[list[DemandRow], int]:
        threads.append(threading.get_ident())
        return rows(recent)

    monkeypatch.setattr(RecentDemand, "rows", watched)
    await foresee(app)
    await app.look("/v1/dashboard")
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_shed_figures(app: FleetApp) -> None:
    """By appliance, cause and minute, and as metrics since the start."""
    await app.know(a=WIDE, z={"11.0.0.0/8": (9, 0)})
    await app.serve("11.1.1.1")
    assert (await app.look("/v1/shed"))["minutes"] == []
    await tell(app, "/v1/drain", {"appliances": ["a"]})
    await app.serve("11.1.1.1", "film.mp4", "other.mp4")
    minutes = (await app.look("/v1/shed?minutes=5"))["minutes"]
    assert [minute["appliances"] for minute in minutes] == [
        [
            {
                "appliance": "a",
                "health_bits_per_s": 5e6,
                "content_bits_per_s": 0.0,
                "capacity_bits_per_s": 0.0,
            }
        ]
    ]
    text = (await app.look("/metrics")).decode()
    assert 'ocaserve_fleet_shed_clients_total{appliance="a",cause="health"} 1.0' in text


async def test_footprints(app: FleetApp) -> None:
    """RFC 8008: of those that take clients, and nothing at all where nobody does."""
    assert decoded(await app.look("/v1/fci")) == {"capabilities": []}
    await app.know(a=WIDE | {"2001:db8::/32": (1, 0)}, z=NARROW)
    await tell(app, "/v1/drain", {"appliances": ["z"]})
    protocol, mode = decoded(await app.look("/v1/fci"))["capabilities"]
    assert protocol == {
        "capability-type": "FCI.DeliveryProtocol",
        "capability-value": {"delivery-protocols": ["https/1.1"]},
        "footprints": [
            {"footprint-type": "ipv4cidr", "footprint-value": ["11.0.0.0/8"]},
            {"footprint-type": "ipv6cidr", "footprint-value": ["2001:db8::/32"]},
        ],
    }
    assert mode["capability-value"] == {"redirection-modes": ["HTTP-I"]}


def decoded(data: bytes) -> Any:
    return msgspec.json.decode(data)

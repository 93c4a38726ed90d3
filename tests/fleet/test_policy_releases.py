"""Releases over HTTP: from a draft to all clients and back, at one instance and at several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio as redis

from ocaserve.client.asking import SESSION_FIELD
from ocaserve.fleet.policy_endpoints import OFFICE
from ocaserve.fleet.policy_office import PolicyOffice
from ocaserve.fleet.policy_shadows import Shadows
from ocaserve.fleet.policy_storing import (
    FilePolicies,
    PolicyStoreError,
    SharedPolicies,
)
from ocaserve.fleet.steered_sessions import (
    MOST_A_MINUTE,
    SessionSigner,
    SteeredSession,
    Tellers,
)
from ocaserve.policies.bundles import make_bundle
from ocaserve.policies.in_force import PoliciesInForce
from ocaserve.policies.releases import hand_in
from ocaserve.settings.fleet import FleetTokens
from tests.fleet.test_app import SETTINGS, WIDE, FleetApp, run
from tests.support.valkey import make_valkey
from tests.support.waiting import until

OPERATOR = "a-token-for-those-who-operate"
NOT_A = "def admit(client, server):\n    return server.id != 'a'\n"
NOT_B = "def admit(client, server):\n    return server.id != 'b'\n"


class Operator:
    """Who has a token, at one instance."""

    def __init__(self, app: FleetApp) -> None:
        self.app = app

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = await self.app.call(
            self.app.operators, "POST", path, body, Authorization=f"Bearer {OPERATOR}"
        )
        assert answer.status == status, answer.body
        return answer.body

    async def hand_in(self, **texts: str) -> int:
        """Returns the number of the release."""
        policies = [{"name": n, "files": {f"{n}.star": text}} for n, text in texts.items()]
        found = await self.post("/v1/policies", {"policies": policies, "by": "ann"}, 201)
        number: int = found["release"]
        return number

    async def go(self, number: int, *steps: str, **body: Any) -> Any:
        found = None
        for step in steps:
            asked = {"by": "ann", **(body if step == "canary" else {})}
            found = await self.post(f"/v1/policies/{number}/{step}", asked)
        return found

    async def deploy(self, **texts: str) -> int:
        number = await self.hand_in(**texts)
        await self.go(number, "check", "shadow", "canary", "promote")
        return number

    async def firsts(self, client: str = "11.1.1.1") -> set[str]:
        answer = await self.app.serve(client, *(f"film-{n}" for n in range(20)))
        return {urls[0].split("/")[2][0] for urls in answer["objects"].values() if urls}

    async def gives(self, *servers: str) -> None:
        """Until these are the first, and no others."""
        for _ in range(400):
            if (found := await self.firsts()) == set(servers):
                return
            await asyncio.sleep(0.025)
        raise AssertionError(f"{found} are the first, not {servers}")

    async def look(self, path: str) -> Any:
        app = self.app
        return (await app.call(app.operators, "GET", path, Authorization=f"Bearer {OPERATOR}")).body

    async def overview(self) -> Any:
        return await self.look("/v1/policies")


@asynccontextmanager
async def operating(url: str = "") -> AsyncIterator[Operator]:
    tokens = FleetTokens(operate=[OPERATOR])
    settings = msgspec.structs.replace(SETTINGS, report_ttl_s=600.0)
    async with asynccontextmanager(run)(settings, tokens, url) as app:
        yield Operator(app)


@pytest.fixture
async def operator() -> AsyncIterator[Operator]:
    async with operating() as found:
        await found.app.know(a=WIDE, b=WIDE, z=WIDE)
        yield found


async def test_from_a_draft_to_all_clients_and_back(operator: Operator) -> None:
    assert await operator.firsts() == {"a", "b"}
    first = await operator.hand_in(no_a=NOT_A)
    found = await operator.go(first, "check")
    assert (found["faults"], found["decisions"]) == ([], 20)
    assert found["moved"] > 0
    shown = await operator.go(first, "shadow")
    assert (shown["state"], shown["by"]) == ("shadow", "ann")
    assert await operator.firsts() == {"a", "b"}
    await operator.go(first, "canary", "promote")
    assert await operator.firsts() == {"b"}
    await operator.deploy(no_a=NOT_B)
    assert await operator.firsts() == {"a"}
    await operator.post("/v1/policies/2/rollback", {"by": "eve", "reason": "not so"})
    assert await operator.firsts() == {"b"}
    overview = await operator.overview()
    assert [(each["name"], each["release"]) for each in overview["in_force"]] == [("no_a", 1)]
    assert [each["state"] for each in overview["releases"]] == ["rolled back", "live"]
    log = await operator.look("/v1/policies/log")
    assert log["notes"][0]["by"] == "eve"
    assert log["notes"][0]["why"] == "not so"


async def test_several_in_one_step(operator: Operator) -> None:
    number = await operator.deploy(no_a=NOT_A, no_b=NOT_B)
    assert await operator.firsts() == {"z"}
    await operator.go(number, "rollback")
    assert await operator.firsts() == {"a", "b"}


async def test_what_is_refused(operator: Operator) -> None:
    bad = await operator.hand_in(bad="def admit(client, server):\n    return ture\n")
    found = await operator.go(bad, "check")
    assert found["faults"][0].startswith("bad.star:2: Variable `ture` not found")
    problem = await operator.post(f"/v1/policies/{bad}/shadow", {}, 409)
    assert problem["detail"] == "release 1 (bad) is draft: it can check or roll back"
    await operator.post("/v1/policies/9/check", {}, 409)
    await operator.post("/v1/policies/x/check", {}, 404)
    await operator.post("/v1/policies", {"policies": []}, 422)
    twice = [{"name": "a", "files": {"a.star": NOT_A}}] * 2
    await operator.post("/v1/policies", {"policies": twice}, 422)
    nothing = [{"name": "a", "files": {"a.star": "x = 1\n"}}]
    problem = await operator.post("/v1/policies", {"policies": nothing}, 422)
    assert "defines none of admit" in problem["detail"]
    app = operator.app
    answer = await app.call(app.operators, "POST", "/v1/policies", {"policies": nothing})
    assert answer.status == 401


async def test_one_that_fails_is_rolled_back_by_measure(operator: Operator) -> None:
    """It fails for what no recorded decision had."""
    await operator.deploy(p=NOT_A)
    text = "def admit(client, server):\n    return 1 // len(object_of(server)) > 0\n\n"
    text += "def object_of(server):\n    return server.id.strip('z')\n"
    number = await operator.hand_in(p=text)
    app = operator.app
    app.state.journal.take_sample()
    office: PolicyOffice = app.operators.app[OFFICE]
    office._recent = list
    await operator.go(number, "check", "shadow", "canary", "promote")
    for third in range(6):
        assert await operator.firsts(f"11.1.{third}.1") <= {"a", "b"}

    def is_back() -> bool:
        return office.book.find(number).state.value == "rolled back"

    await until(is_back)
    await operator.gives("b")
    assert "5 faults within a minute" in office.book.find(number).why


async def test_shadows_list_differences(operator: Operator) -> None:
    number = await operator.hand_in(no_a=NOT_A)
    await operator.go(number, "check", "shadow")

    async def figures() -> Any:
        await operator.firsts()
        (found,) = (await operator.overview())["shadows"]
        return found

    while not (found := await figures())["moved"]:  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    assert found["release"] == number
    assert found["moves"][0]["from"] == "a"
    assert found["moves"][0]["to"] == "b"
    assert found["unserved"] == 0


async def test_a_trial_ends_by_itself(operator: Operator) -> None:
    office: PolicyOffice = operator.app.operators.app[OFFICE]
    number = await operator.hand_in(no_a=NOT_A)
    await operator.go(number, "check", "shadow", "canary", share=0.5, seconds=600)
    await office._store.change(lambda book: msgspec.structs.replace(
        book, serial=book.serial + 1,
        releases=tuple(msgspec.structs.replace(each, until=1.0) for each in book.releases),
    ))  # fmt: skip
    await office._follow()
    await until(lambda: office.book.find(number).state.value == "rolled back")
    assert "too few to judge it by" in office.book.find(number).why


# -- where it is kept ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with make_valkey() as server:
        yield int(server.port)


async def test_a_file_keeps_releases(tmp_path: Path) -> None:
    bundle = make_bundle("a", {"a.star": NOT_A})
    store = FilePolicies(tmp_path / "fleet.db")
    await store.change(lambda b: hand_in(b, {"a": bundle.version}, "ann", "", 1.0), [bundle])
    kept = await FilePolicies(tmp_path / "fleet.db").load()
    assert kept.book.releases[0].policies == {"a": bundle.version}
    assert kept.texts == {bundle.version: bundle}
    assert kept.secret == (await store.load()).secret
    (tmp_path / "damaged.db").write_bytes(b"no database" * 1000)
    with pytest.raises(PolicyStoreError, match=r"damaged\.db"):
        await FilePolicies(tmp_path / "damaged.db").load()


async def test_instances_follow_each_other(port: int) -> None:
    client = redis.Redis(port=port)
    await client.flushall()
    url = f"redis://127.0.0.1:{port}/0"
    async with operating(url) as one, operating(url) as two:
        await one.app.know(a=WIDE, b=WIDE, z=WIDE)
        await two.gives("a", "b")
        number = await one.deploy(no_a=NOT_A)
        await two.gives("b")
        await client.flushall()  # the server has lost what it knew
        await two.go(number, "rollback")
        await one.gives("a", "b")
        await one.deploy(no_a=NOT_B)
        await two.gives("a")
    await client.aclose()


async def test_a_server_that_does_not_answer_changes_nothing() -> None:
    shown: list[PoliciesInForce] = []

    async def show(now: PoliciesInForce, _: object) -> None:
        shown.append(now)

    store = SharedPolicies("redis://127.0.0.1:1/0")
    office = PolicyOffice(store, show, list, Shadows())
    with pytest.raises(PolicyStoreError, match="the server that instances share"):
        await office.hand_in([make_bundle("a", {"a.star": NOT_A})], "ann", "")
    assert shown == []
    await store.close()


# -- how clients fare ----------------------------------------------------------------------------


async def tell(operator: Operator, client: str, failovers: int, session: str = "") -> int:
    """How a client fares that was steered."""
    app = operator.app
    if not session:
        session = (await app.serve(client, "film"))["session"]
    told = {"session": session, "failovers": failovers}
    return (await app.call(app.clients, "POST", "/v1/qoe", told)).status


async def test_a_canary_that_fares_worse_is_rolled_back(operator: Operator) -> None:
    office: PolicyOffice = operator.app.operators.app[OFFICE]
    number = await operator.hand_in(no_a=NOT_A)
    await operator.go(number, "check", "shadow", "canary", share=0.5)
    await operator.firsts()

    async def is_over() -> bool:
        for third in range(60):
            client = f"11.2.{third}.1"
            is_canary = "a" not in await operator.firsts(client)
            assert await tell(operator, client, 2 if is_canary else 0) == 204
        return office.book.find(number).state.value == "rolled back"

    while not await is_over():  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    assert "sessions leave a server" in office.book.find(number).why
    await operator.gives("a", "b")


async def test_a_client_speaks_of_itself_alone(operator: Operator) -> None:
    session = (await operator.app.serve("11.1.1.1", "film"))["session"]
    assert await tell(operator, "", 0, session) == 204
    assert await tell(operator, "", 0, session[:-6] + "AAAA==") == 403
    assert await tell(operator, "", 0, "no session") == 403
    led = await operator.app.call(operator.app.clients, "GET", "/r/film?ip=11.1.1.1")
    assert await tell(operator, "", 0, led.headers[SESSION_FIELD.lower()]) == 204
    signer = SessionSigner(b"another")
    assert await tell(operator, "", 0, signer.sign(SteeredSession(1, True, b"x", 1))) == 403
    tellers = Tellers()
    assert sum(tellers.may(b"one", 1) for _ in range(100)) == MOST_A_MINUTE
    assert tellers.may(b"one", 2)

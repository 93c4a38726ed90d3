"""The real process: what programs answer, what bad ones cost, and what none can reach."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from ocaserve.policies.bundles import Bundle, make_bundle
from ocaserve.policies.program_messages import (
    Answer,
    AskOrder,
    AskRule,
    ExamineProgram,
    ProgramExamined,
    ProgramFailed,
    ProgramOrdered,
    ProgramRuled,
)
from ocaserve.policies.runner import PolicyRunner, running
from tests.support.waiting import until

SERVERS: list[dict[str, Any]] = [{"id": "a", "site": "x"}, {"id": "b", "site": "y"}]
GOOD = make_bundle("good", {"good.star": "def admit(client, server):\n    return True\n"})
BIG = 'x = "a" * len(server.site)'  # no constant, so it is made when it is asked

BAD = {
    "an endless loop": "for i in range(1 << 30):\n        pass",
    "deep recursion": "f = lambda g: g(g)\n    f(f)",
    "a string of 1 GB": f"{BIG} * (1 << 30)",
    "a list of 1 GB": f"{BIG}\n    y = [x]\n    for i in range(40):\n        y = y + y",
    "one operation without an end": f'{BIG} * 60000000\n    x = x.replace("a", "bb").upper()',
    "deep nesting": "x = []\n    for i in range(30000):\n        x = [x]\n    return x",
    "no value": "return admit",
    "another value": "return 3",
    "a division by zero": "1 // 0",
    "a field that there is not": "client.port",
}

ESCAPES = [
    *('open("/etc/passwd")', 'load("/etc/passwd", "x")', 'load("//lib/../../x.star", "x")'),
    *('load("//other.star", "admit")', "__import__('os')", "__builtins__", "globals()", "locals()"),
    *("dir(1).__class__", "().__class__", "getattr((), '__class__')", "admit.__globals__"),
    *("'{0.__class__}'.format(1)", "'%s' % admit.__code__", "eval('1')", "exec('1')"),
    *("compile('1', '', 'eval')", "import os", "breakpoint()", "print('x')", "pprint(1)"),
    *("json.decode('1')", "time.now()", "time()", "now()", "random()", "os.environ", "environ"),
    *("socket()", "call_stack()", "debug(1)", "typing.Any", "rust_loader()", "native"),
]


@pytest.fixture
async def runner() -> AsyncIterator[PolicyRunner]:
    async with running() as started:
        await until(lambda: started.is_up)
        yield started


def program(text: str, name: str = "bad") -> Bundle:
    return make_bundle(name, {f"{name}.star": text})


async def rule(runner: PolicyRunner, bundle: Bundle, **client: Any) -> Answer | None:
    return await runner.ask(AskRule(bundle.version, client, SERVERS, {}))


async def test_admit_and_weight_and_order(runner: PolicyRunner) -> None:
    text = """
load("//lib/peak.star", "is_peak")

def admit(client, server):
    return "full" if is_peak(client) and server.site == "x" else True

def weight(client, server, object):
    return 3 if server.id == "b" else 1

def order(client, servers):
    return sorted(servers, key=lambda each: each.site != "y")
"""
    library = "def is_peak(client):\n    return client.hour > 18\n"
    bundle = make_bundle("evening", {"evening.star": text, "lib/peak.star": library})
    assert await runner.hold([bundle]) == {}
    evening = await rule(runner, bundle, hour=20)
    assert isinstance(evening, ProgramRuled)
    assert (evening.refused, evening.weights) == ({"a": "full"}, {"b": 3.0})
    morning = await rule(runner, bundle, hour=7)
    assert isinstance(morning, ProgramRuled)
    assert morning.refused == {}
    ordered = await runner.ask(AskOrder(bundle.version, {}, SERVERS))
    assert isinstance(ordered, ProgramOrdered)
    assert ordered.order == ["b", "a"]


@pytest.mark.parametrize("what", list(BAD))
async def test_a_bad_program_costs_its_own_answer(runner: PolicyRunner, what: str) -> None:
    """It fails, whoever asked behind it is not blamed, and the process is there again."""
    bad = program(f"def admit(client, server):\n    {BAD[what]}\n    return True\n")
    await runner.hold([GOOD, bad])
    asked = [rule(runner, bad), rule(runner, GOOD)]
    failed, other = [await each for each in asked]
    assert isinstance(failed, ProgramFailed)
    assert other is None or isinstance(other, ProgramRuled)
    await until(lambda: runner.is_up)
    again = await rule(runner, GOOD)
    assert isinstance(again, ProgramRuled)
    assert again.refused == {}


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        ("admit", "def admit(client, server):\n    fail('no')\n"),
        ("weight", "def weight(client, server, object):\n    fail('no')\n"),
        ("weight", "def weight(client, server, object):\n    return -1\n"),
        ("weight", "def weight(client, server, object):\n    return 1e300 * 1e300\n"),
        ("weight", "def weight(client, server, object):\n    return True\n"),
        ("order", "def order(client, servers):\n    fail('no')\n"),
        ("order", "def order(client, servers):\n    return servers[:1]\n"),
        ("order", "def order(client, servers):\n    return [servers[0], servers[0]]\n"),
    ],
    ids=range(8),
)
async def test_what_a_hook_must_not_do(runner: PolicyRunner, hook: str, text: str) -> None:
    bad = program(text)
    await runner.hold([bad])
    order = AskOrder(bad.version, {}, SERVERS)
    failed = await runner.ask(order if hook == "order" else AskRule(bad.version, {}, SERVERS, {}))
    assert isinstance(failed, ProgramFailed)
    assert failed.why.startswith("bad.star")
    assert runner.restarts == 0


async def test_a_bundle_that_cannot_be_loaded(runner: PolicyRunner) -> None:
    """Not even the parser is sure to survive; the others are loaded again."""
    nested = program("x = " + "[" * 50_000 + "]" * 50_000 + "\ndef admit(client, server): pass\n")
    assert await runner.hold([GOOD]) == {}
    assert "its process" in (await runner.hold([GOOD, nested]))[nested.version]
    await until(lambda: runner.is_up)
    assert isinstance(await rule(runner, GOOD), ProgramRuled)


async def test_no_escape(runner: PolicyRunner) -> None:
    """Nothing of it is there: neither at its top nor in a function."""
    escaped = []
    for escape in ESCAPES:
        inside = program(f"def admit(client, server):\n    {escape}\n    return True\n")
        above = program(f"{escape}\ndef admit(client, server):\n    return True\n")
        for bundle in (inside, above):
            if await runner.hold([bundle]):
                continue  # it is not even loaded
            if not isinstance(await rule(runner, bundle), ProgramFailed):
                escaped.append(bundle.program)
    assert escaped == []
    assert runner.restarts == 0


async def test_the_process_has_nothing(runner: PolicyRunner) -> None:
    """Where a program got out of its language, there would be nothing to take."""
    (child,) = [
        each
        for each in psutil.Process().children()
        if "ocaserve.policies.process" in each.cmdline()
    ]
    assert child.environ() == {}
    limits = {
        name: child.rlimit(kind)
        for name, kind in (
            ("files", psutil.RLIMIT_NOFILE),
            ("written", psutil.RLIMIT_FSIZE),
            ("memory", psutil.RLIMIT_AS),
        )
    }
    assert limits["files"] == (0, 0)
    assert limits["written"] == (0, 0)
    assert limits["memory"][1] <= 1 << 28
    opened = {os.path.basename(each.path) for each in child.open_files()}
    assert opened <= {"null"}


async def test_a_killed_process_is_replaced(runner: PolicyRunner) -> None:
    await runner.hold([GOOD])
    for _ in range(3):
        for each in psutil.Process().children():
            if "ocaserve.policies.process" in each.cmdline():
                each.kill()
        await until(lambda: not runner.is_up)
        assert await rule(runner, GOOD) is None
        await until(lambda: runner.is_up)
        assert isinstance(await rule(runner, GOOD), ProgramRuled)


async def test_a_bundle_is_examined(runner: PolicyRunner) -> None:
    text = """
load("@testing", "client", "equal", "server")

def admit(client, server):
    return client.hour < 12
    return True

def test_right():
    equal(admit(client(hour=3), server()), True)

def test_wrong():
    equal(admit(client(hour=20), server()), True)

def test_field():
    client(port=3)
"""
    found = await runner.ask(ExamineProgram("day", {"day.star": text}))
    assert isinstance(found, ProgramExamined)
    assert found.tests == 1
    assert found.faults == [
        "day.star:6: Unreachable statement `return True`",
        "test_wrong fails: day.star:12: False, not True",
        'test_field fails: day.star:15: there is no field "port": allowed are family, network, '
        "hour, latitude, longitude",
    ]

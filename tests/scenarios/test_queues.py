"""Queues of the real program: over HTTP, from the command line, with both engines, over deaths."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.control_client import Answer, call
from tests.support.daemon import Daemon
from tests.support.valkey import make_valkey
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

TOKEN = "operate-token-0123456789"
TOML = '[control]\nlisten = ["127.0.0.1:0"]\n[control.tokens]\noperate = ["{token}"]\n{more}'


@pytest.fixture(scope="module", params=["sqlite", "valkey"])
def daemon(
    request: pytest.FixtureRequest, serve: Serve, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    folder = tmp_path_factory.mktemp("queues")
    (folder / "state").mkdir()
    more = f'[appliance]\nstate_directory = "{folder}/state"\n'
    if request.param == "sqlite":
        with serve(folder, toml=TOML.format(token=TOKEN, more=more)) as running:
            yield running
        return
    with make_valkey() as server:
        more += f'[queue]\nengine = "redis://127.0.0.1:{server.port}/0"\n'
        with serve(folder, toml=TOML.format(token=TOKEN, more=more)) as running:
            yield running


def ask(daemon: Daemon, method: str, path: str, body: object = None, token: str = TOKEN) -> Answer:
    return call(daemon.control_addresses[0], method, f"/v1/queues{path}", body, token=token)


def push(daemon: Daemon, name: str, *bodies: object, **more: object) -> list[str]:
    messages = [{"body": body, **more} for body in bodies]
    answer = ask(daemon, "POST", f"/{name}/messages", {"messages": messages})
    assert answer.status == 201, answer.text
    ids: list[str] = answer.json["ids"]
    return ids


def ocaserve(
    daemon: Daemon, folder: Path, *words: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    token = folder / "token"
    token.write_text(TOKEN)
    options = ("--control", daemon.control_addresses[0], "--token-file", str(token))
    return subprocess.run(
        [sys.executable, "-m", "ocaserve", "queue", *words, *options],
        input=stdin, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_message_goes_through(daemon: Daemon) -> None:
    """As the contract has it, over HTTP."""
    [made] = push(daemon, "through", {"key": "film.mp4"}, priority=3)
    popped = ask(daemon, "POST", "/through/pop", {"n": 5, "hold_s": 60}).json["deliveries"]
    assert [each["id"] for each in popped] == [made]
    assert (popped[0]["body"], popped[0]["priority"], popped[0]["tries"]) == (
        {"key": "film.mp4"},
        3,
        1,
    )
    receipts = {"receipts": [popped[0]["receipt"], "7.other"]}
    acked = ask(daemon, "POST", "/through/ack", receipts).json
    assert acked["acked"] == 1
    assert [each["receipt"] for each in acked["refused"]] == ["7.other"]
    sizes = ask(daemon, "GET", "/through").json
    assert (sizes["ready"], sizes["held"], len(sizes["shards"])) == (0, 0, 1)


def test_refusals(daemon: Daemon) -> None:
    """Each says what is wrong, with its status."""
    push(daemon, "refusing", 1, id="m")
    one = {"messages": [{"body": 1, "id": "m"}]}
    assert ask(daemon, "POST", "/refusing/messages", one).status == 409
    assert ask(daemon, "POST", "/refusing/messages", one, token="").status == 401
    assert ask(daemon, "POST", "/refusing/ensure", one).status == 200
    assert ask(daemon, "GET", "/nobody").status == 404
    assert ask(daemon, "GET", "/bad%20name").status == 404
    assert ask(daemon, "POST", "/refusing/remove", {"id": "x"}).status == 404
    assert ask(daemon, "POST", "/refusing/release", {"receipt": "1.m"}).status == 409
    long = {"messages": [{"body": "x" * 300_000}]}
    answer = ask(daemon, "POST", "/refusing/messages", long)
    assert (answer.status, "queue.body_bytes" in answer.json["detail"]) == (413, True)
    bad = ({"body": 1, "priority": 100}, {"body": 1, "id": "a b"}, {"body": 1, "x": 2}, {"id": "a"})
    for body in ({}, {"messages": []}, *({"messages": [each]} for each in bad)):
        assert ask(daemon, "POST", "/refusing/messages", body).status == 422, body
    assert ask(daemon, "POST", "/refusing/pop", {"wait_s": 21}).status == 422
    assert ask(daemon, "POST", "/refusing/kick", {}).status == 422


def test_who_waits_is_answered(daemon: Daemon) -> None:
    """As soon as there is a message."""
    found: list[Answer] = []
    wait = {"wait_s": 20}
    waiter = threading.Thread(
        target=lambda: found.append(ask(daemon, "POST", "/waiting/pop", wait))
    )
    waiter.start()
    push(daemon, "waiting", "now")
    waiter.join(30)
    assert [each["body"] for each in found[0].json["deliveries"]] == ["now"]


def test_command_line(daemon: Daemon, tmp_path: Path) -> None:
    """Push from lines, look, pop, ack, kick, remove."""
    pushed = ocaserve(daemon, tmp_path, "push", "cli", stdin='{"n": 1}\nplain text\n')
    assert pushed.returncode == 0, pushed.stderr
    first, second = pushed.stdout.split()
    shown = ocaserve(daemon, tmp_path, "peek", "cli").stdout
    assert first in shown
    assert '"plain text"' in shown
    popped = ocaserve(daemon, tmp_path, "pop", "cli", "-n", "1")
    receipt, body = popped.stdout.strip().split("\t")
    assert json.loads(body) == {"n": 1}
    assert ocaserve(daemon, tmp_path, "ack", "cli", receipt).stdout == "1 done\n"
    again = ocaserve(daemon, tmp_path, "ack", "cli", receipt)
    assert (again.returncode, "not held" in again.stderr) == (1, True)
    assert ocaserve(daemon, tmp_path, "remove", "cli", second).returncode == 0
    assert ocaserve(daemon, tmp_path, "pop", "cli").returncode == 1
    assert ocaserve(daemon, tmp_path, "kick", "cli", "-n", "3").stdout == "0 ready\n"
    listed = ocaserve(daemon, tmp_path, "sizes").stdout
    assert listed.startswith("queue")
    assert "\ncli " in listed


def test_it_is_seen(daemon: Daemon) -> None:
    """In metrics, and in health."""
    push(daemon, "seen", 1, 2, delay_s=3600)
    control = daemon.control_addresses[0]

    def metrics() -> str:
        return call(control, "GET", "/metrics", token=TOKEN).text

    line = 'ocaserve_queue_messages{queue="seen",state="delayed"} 2.0'
    eventually(lambda: line in metrics(), "it is counted", timeout_s=30)
    components = call(control, "GET", "/v1/health", token=TOKEN).json["components"]
    assert "queue" in {each["name"] for each in components}


def test_killed_control_process(daemon: Daemon) -> None:
    """What was pushed is there, what was held stays held, and comes back in time."""
    push(daemon, "killed", "a", "b")
    [delivery] = ask(daemon, "POST", "/killed/pop", {"n": 1, "hold_s": 3}).json["deliveries"]
    before = daemon.control()
    os.kill(before, signal.SIGKILL)
    eventually(lambda: daemon.control() != before, "it is replaced", timeout_s=30)
    control = daemon.control_addresses[0]
    eventually(lambda: call(control, "GET", "/healthz").status == 200, "it answers", timeout_s=30)
    left = {"n": 9, "wait_s": 20}
    bodies: list[object] = []
    while len(bodies) < 2:
        found = ask(daemon, "POST", "/killed/pop", left).json["deliveries"]
        bodies += [each["body"] for each in found]
    assert sorted(map(str, bodies)) == ["a", "b"]
    assert delivery["body"] == "a"

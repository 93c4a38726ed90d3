"""What clients want is counted, kept over restarts, told, and locked in memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.filling import TOKEN, ask, make_manifest, put, settings
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(90)]


def popularity(daemon: Daemon) -> dict[str, Any]:
    answer = call(daemon.control_addresses[0], "GET", "/v1/popularity", token=TOKEN)
    assert answer.status == 200, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def ranking(daemon: Daemon) -> list[str]:
    return [each["key"] for each in popularity(daemon)["most_wanted"]]


def test_from_clients_to_memory(serve: Serve, tmp_path: Path) -> None:
    """Of three objects the most wanted are locked; the next run and fill's plan know it too."""
    store = tmp_path / "disk"
    write_object(store, "long.mp4", blob(6 << 20, seed=1))
    write_object(store, "short.m3u8", blob(2000, seed=2))
    write_object(store, "begun.mp4", blob(4 << 20, seed=3))
    toml = settings(tmp_path / "run", "oca-1") + "[serve]\npinned_bytes = 8388608\n"
    with serve(store, toml=toml, workers=2) as daemon:
        for _ in range(3):
            fetch(daemon.address, request("/long.mp4"))
        for _ in range(5):
            fetch(daemon.address, request("/short.m3u8"))
        fetch(daemon.address, request("/begun.mp4", [("Range", "bytes=0-9999")]))
        eventually(
            lambda: ranking(daemon) == ["short.m3u8", "long.mp4", "begun.mp4"], "all is counted"
        )
        pinned = eventually(
            lambda: (found := popularity(daemon)["pinned"])["objects"] == 2 and found,
            "what was wanted is locked",
        )
        assert pinned["bytes"] == (6 << 20) + 4096
        shown = call(daemon.control_addresses[0], "GET", "/v1/status", token=TOKEN).json
        assert shown["pinned"]["objects"] == 2
        pid = daemon.service("popularity")
        assert pid
        assert "VmLck:\t    6148 kB" in Path(f"/proc/{pid}/status").read_text()
        before = popularity(daemon)["most_wanted"][0]["copies_per_day"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: daemon.service("popularity") not in (None, pid), "it is replaced")
        fetch(daemon.address, request("/long.mp4"))
        per_day = {
            each["key"]: each["copies_per_day"] for each in popularity(daemon)["most_wanted"]
        }
        assert per_day["short.m3u8"] == pytest.approx(before, rel=0.01)
    with serve(store, toml=toml, workers=1) as daemon:
        eventually(lambda: len(ranking(daemon)) == 3, "it is known")
        put(daemon, make_manifest(store, "http://127.0.0.1:9/none"))
        plan = ask(daemon, "GET", "/plan").json
        wanted = {each["key"]: each["copies_per_day"] for each in plan["actions"]}
        assert wanted["short.m3u8"] > wanted["long.mp4"] > wanted["begun.mp4"] > 0
        most = eventually(
            lambda: ask(daemon, "GET", "/status").json["most_wanted"], "it is planned with"
        )
        assert most[0]["key"] == "short.m3u8"


def test_nobody_asks(serve: Serve, tmp_path: Path) -> None:
    """Without fill and without anything to lock there is no such process."""
    write_object(tmp_path / "disk", "a", b"a")
    toml = f'[control]\nlisten = ["127.0.0.1:0"]\n[control.tokens]\noperate = ["{TOKEN}"]\n'
    with serve(tmp_path / "disk", toml=toml, workers=1) as daemon:
        fetch(daemon.address, request("/a"))
        assert daemon.service("popularity") is None
        assert popularity(daemon)["objects"] == 0

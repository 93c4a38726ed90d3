"""Content that arrives by itself, with real processes: an origin, appliances, a shared queue."""

from __future__ import annotations

import os
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.fill.trial import try_kills
from tests.scenarios.conftest import Serve
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.filling import (
    PIECE,
    TOKEN,
    Origin,
    ask,
    assert_same,
    free_port,
    is_whole,
    make_manifest,
    put,
    settings,
)
from tests.support.valkey import make_valkey
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(180)]


def test_three_appliances(serve: Serve, master: Path, origin: Origin, tmp_path: Path) -> None:
    """The origin sends each byte once; copies are equal, also in their entity-tags."""
    whole = sum(file.stat().st_size for file in master.rglob("*") if file.is_file())
    manifest = make_manifest(master, origin.url)
    before = origin.sent
    names = ["oca-1", "oca-2", "oca-3"]
    with ExitStack() as stack:
        server = stack.enter_context(make_valkey())
        engine = f"redis://127.0.0.1:{server.port}/0"
        ports: dict[str, int] = {}
        daemons: dict[str, Daemon] = {}
        for name in names:
            ports[name] = free_port()
        for name in names:
            store = tmp_path / name
            store.mkdir()
            peers = [
                {"id": other, "url": f"http://127.0.0.1:{ports[other]}"}
                for other in names
                if other != name
            ]
            toml = settings(tmp_path / f"{name}-state", name, queue=engine, escalation_s=600)
            toml += "".join(
                f'[[fill.peer]]\nid = "{peer["id"]}"\nurl = "{peer["url"]}"\n' for peer in peers
            )
            toml += f'[serve]\nlisten = ["127.0.0.1:{ports[name]}"]\n'
            daemons[name] = stack.enter_context(serve(store, toml=toml, workers=1))
        for daemon in daemons.values():
            put(daemon, manifest)
        for name, daemon in daemons.items():
            eventually(lambda daemon=daemon: is_whole(daemon), f"{name} is whole", timeout_s=90)  # type: ignore[misc]
            assert_same(master, tmp_path / name)
        tags = {
            fetch(daemon.address, request("/film/7.mp4")).field(b"etag")
            for daemon in daemons.values()
        }
        assert len(tags) == 1
    assert origin.sent - before <= 1.02 * whole


def test_pieces_are_passed_on(serve: Serve, tmp_path: Path) -> None:
    """A peer has pieces of an object before it is whole anywhere, and nobody else gets them."""
    size = 160 * PIECE
    source = tmp_path / "master"
    write_object(source, "long.mp4", blob(size, seed=99))
    names = ["oca-1", "oca-2"]
    ports = {name: (free_port(), free_port()) for name in names}
    token = tmp_path / "token"
    token.write_text("fill-token-0123456789")
    token.chmod(0o600)
    with ExitStack() as stack:
        origin = Origin(source)
        stack.callback(origin.close)
        manifest = make_manifest(source, origin.url)
        [entry] = manifest["objects"]
        server = stack.enter_context(make_valkey())
        daemons: dict[str, Daemon] = {}
        for name, other in zip(names, reversed(names), strict=True):
            (tmp_path / name).mkdir()
            toml = settings(
                tmp_path / f"{name}-state", name, queue=f"redis://127.0.0.1:{server.port}/0",
                rate_bits_per_s=8 * size / 3.5, token_file=str(token), lanes=1,
            )  # fmt: skip
            toml = toml.replace('["127.0.0.1:0"]', f'["127.0.0.1:{ports[name][1]}"]')
            toml = toml.replace("[appliance]", 'fill = ["fill-token-0123456789"]\n[appliance]')
            toml += (
                f'[[fill.peer]]\nid = "{other}"\nurl = "http://127.0.0.1:{ports[other][0]}"\n'
                f'control = "http://127.0.0.1:{ports[other][1]}"\n'
                f'[serve]\nlisten = ["127.0.0.1:{ports[name][0]}"]\n'
            )
            daemons[name] = stack.enter_context(serve(tmp_path / name, toml=toml, workers=1))
        for daemon in daemons.values():
            put(daemon, manifest)

        def progress() -> list[int]:
            found = [ask(daemon, "GET", "/status").json["doing"] for daemon in daemons.values()]
            return [each["bytes_done"] for doing in found for each in doing if each["bytes_done"]]

        eventually(lambda: len(progress()) == 2, "both have a part", timeout_s=30)
        control = daemons["oca-1"].control_addresses[0]
        path = f"/v1/fill/pieces/{entry['sha256']}"
        fill_token = token.read_text()
        assert call(control, "GET", f"{path}/160", token=fill_token).status == 404
        assert call(control, "GET", f"{path}/x", token=fill_token).status == 404
        assert call(control, "GET", "/v1/fill/status", token=fill_token).status == 403
        assert fetch(daemons["oca-1"].address, request("/long.mp4")).status == 404
        for name, daemon in daemons.items():
            eventually(lambda daemon=daemon: is_whole(daemon), f"{name} is whole", timeout_s=60)  # type: ignore[misc]
            assert (tmp_path / name / "long.mp4").read_bytes() == blob(size, seed=99)
        connection = HTTPConnection(control, timeout=10)
        connection.request("GET", f"{path}/1", headers={"Authorization": f"Bearer {fill_token}"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (206, blob(size, seed=99)[PIECE : 2 * PIECE])
        connection.close()
    assert origin.sent <= 1.02 * size


def test_killed_again_and_again(master: Path, tmp_path: Path) -> None:
    """kill -9 of the process that fills: nothing wrong is visible, little is fetched again."""
    found = try_kills(master, tmp_path, kills=4, seed=1, seconds=5.0)
    assert found.kills >= 2
    assert found.wrong == []
    assert found.fetched <= found.most


def test_operating(serve: Serve, master: Path, origin: Origin, tmp_path: Path) -> None:
    """Faults of a manifest, a closed window, the plan, damage that is found and mended."""
    store = tmp_path / "store"
    store.mkdir()
    manifest = make_manifest(master, origin.url)
    toml = settings(tmp_path / "s", "oca-1", scrub_bits_per_s=1e12)
    with serve(store, toml=toml, workers=1) as daemon:
        eventually(lambda: ask(daemon, "GET", "/status").status == 200, "fill answers")
        bad = {**manifest, "objects": [*manifest["objects"], {"key": "../x", "size": -1}]}
        refused = ask(daemon, "PUT", "/manifest", bad)
        assert refused.status == 422
        assert f"objects[{len(manifest['objects'])}]" in refused.json["faults"][0]
        assert call(daemon.control_addresses[0], "PUT", "/v1/fill/manifest", manifest).status == 401
        put(daemon, manifest)
        eventually(lambda: is_whole(daemon), "it is whole", timeout_s=60)
        assert ask(daemon, "GET", "/manifest").json == manifest
        plan = ask(daemon, "GET", "/plan?limit=1").json
        assert (len(plan["actions"]), plan["sums"]["keep"]["objects"]) == (1, 24)
        victim = store / "film" / "7.mp4"
        status = victim.stat()
        data = bytearray(victim.read_bytes())
        data[1000] ^= 1
        victim.write_bytes(data)
        os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert ask(daemon, "POST", "/verify").status == 204
        eventually(lambda: ask(daemon, "GET", "/status").json["damaged"] == 1, "it is found")
        right = (master / "film/7.mp4").read_bytes()
        eventually(
            lambda: victim.exists() and victim.read_bytes() == right, "it is mended", timeout_s=60
        )
        objects = eventually(
            lambda: call(daemon.control_addresses[0], "GET", "/v1/report", token=TOKEN).json.get(
                "objects"
            ),
            "the report has them",
        )
        assert (objects["manifest"], objects["count"]) == ("v1", 24)
        metrics = call(daemon.control_addresses[0], "GET", "/metrics", token=TOKEN).text
        assert "ocaserve_fill_published_total" in metrics


def test_without_fill(serve: Serve, master: Path) -> None:
    """An appliance without the table says so, and runs no such process."""
    with serve(master, toml='[control]\nlisten = ["127.0.0.1:0"]\n', workers=1) as daemon:
        answer = call(daemon.control_addresses[0], "GET", "/v1/fill/status")
        assert (answer.status, "[fill]" in answer.json["detail"]) == (404, True)

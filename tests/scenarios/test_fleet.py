"""Appliances push to a control plane, and clients go where it says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.daemon import Daemon
from tests.support.exabgp_lines import PEER, Exabgp
from tests.support.fleet import FleetProcess, call, packed, report
from tests.support.valkey import make_valkey
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.slow, pytest.mark.timeout(120)]

CLIENT = "11.1.1.1"
TTL_S = 3.0
FILM = bytes(range(256)) * 4_000
KEY = "ab" * 32
TOKENS = {"oca-1": "token-of-oca-1-0123456789", "oca-2": "token-of-oca-2-0123456789"}


class Network(NamedTuple):
    """A control plane, and the appliances by their ids."""

    fleet: FleetProcess
    appliances: dict[str, Daemon]
    folder: Path


def write_routes(folder: Path, *networks: str) -> Path:
    """A recording in which a router announces these, and says that this is all."""
    exabgp = Exabgp()
    lines = [exabgp.state("connected"), exabgp.state("up"), exabgp.announce(*networks)]
    lines += [exabgp.end_of_rib(family, PEER) for family in (4, 6)]
    recording = folder / "routes.jsonl"
    recording.write_bytes(b"\n".join(lines) + b"\n")
    return recording


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def prepare(folder: Path, name: str) -> None:
    """What the appliance and the control plane both are to know."""
    own = folder / name
    (own / "disk").mkdir(parents=True)
    (own / "disk" / "film.mp4").write_bytes(FILM)
    (own / "token").write_text(f"{TOKENS[name]}\n")
    (own / "keys.toml").write_text(f'"7" = "{KEY}"\n')
    for secret in ("token", "keys.toml"):
        (own / secret).chmod(0o600)
    write_routes(own, "11.0.0.0/8")


def entry_of(name: str) -> str:
    """Of the control plane's configuration."""
    return (
        f'[[fleet.appliance]]\nid = "{name}"\n'
        f'token_file = "{name}/token"\nsigning_keys_file = "{name}/keys.toml"\n'
    )


def start_appliance(
    folder: Path, name: str, site: str, port: int, push_url: str, communities: str = ""
) -> Daemon:
    own = folder / name
    config = own / "ocaserve.toml"
    config.write_text(
        f'[appliance]\nid = "{name}"\nsite = "{site}"\nurls = ["http://127.0.0.1:{port}"]\n'
        f'[serve]\nlisten = ["127.0.0.1:{port}"]\nworkers = 1\naccess_log = "off"\n'
        f'[control]\nlisten = ["unix:{own}/control"]\n'
        f'[signing]\nkeys_file = "{own}/keys.toml"\n'
        f'[bgp]\nlocal_as = 65000\nrecording = "{own}/routes.jsonl"\n'
        f"[bgp.communities]\n{communities}\n"
        f'[report]\npush_url = "{push_url}"\ninterval_s = 1\ntoken_file = "{own}/token"\n'
        "[health]\nrise_s = 3600\n"  # the machine of a test may be as busy as it likes
        f'[[store]]\npath = "{own}/disk"\n'
    )
    return Daemon.start(["serve", "-c", str(config)], own / "log")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Two appliances at two sites, which both hear the client."""
    ports = {name: free_port() for name in TOKENS}
    tables = f"report_ttl_s = {TTL_S}\n"
    for name in ports:
        prepare(tmp_path, name)
        tables += entry_of(name)
    with ExitStack() as stack:
        fleet = stack.enter_context(FleetProcess.running(tmp_path, tables))
        url = f"http://{fleet.operators}/v1/reports"
        appliances = {
            name: start_appliance(tmp_path, name, f"site-{name}", port, url)
            for name, port in ports.items()
        }
        for daemon in appliances.values():
            stack.callback(daemon.stop)
        eventually(lambda: fleet.servers() == set(TOKENS), "both may serve")
        yield Network(fleet, appliances, tmp_path)


def follow(fleet: FleetProcess, address: str) -> str:
    """The digest of what the program's own client gets, as a client of this address."""
    command = [sys.executable, "-m", "ocaserve", "follow", "film.mp4", "--as", address, "--json"]
    command += ["--fleet", f"http://{fleet.clients}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return str(json.loads(done.stdout)["sha256"])


def kill_all_of(daemon: Daemon) -> None:
    """As a power cut would: nothing of it says good-bye."""
    pids = [daemon.pid, daemon.control(), *daemon.workers()]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    daemon.process.wait()


def test_clients_follow(network: Network) -> None:
    """Right bytes by each URL; who dies, drains or comes back does so for clients as well."""
    fleet, appliances, folder = network
    found = fleet.steer(CLIENT, "film.mp4")
    assert len(found["objects"]["film.mp4"]) == 2
    for url in found["objects"]["film.mp4"]:
        assert fetch(url) == hashlib.sha256(FILM).hexdigest()
    redirected = fleet.get(f"/r/film.mp4?ip={CLIENT}", fleet.clients)
    assert redirected.status == 307
    assert fetch(redirected.headers["location"]) == hashlib.sha256(FILM).hexdigest()
    assert "rel=duplicate" in redirected.headers["link"]
    assert fleet.steer("12.1.1.1", "film.mp4")["servers"] == []
    assert follow(fleet, CLIENT) == hashlib.sha256(FILM).hexdigest()

    control = f"unix:{folder}/oca-1/control"
    operate(control, "drain", "--reason", "new fans")
    # Within a second of its saying so; the time of the test is not that of the promise.
    eventually(lambda: fleet.servers() == {"oca-2"}, "who drains gets no clients")
    skipped = {each["server"]: each["why"] for each in fleet.steer(CLIENT, "film.mp4")["skipped"]}
    assert skipped["oca-1"] == "H"
    operate(control, "enable")
    eventually(lambda: fleet.servers() == set(TOKENS), "who is back gets clients")

    kill_all_of(appliances["oca-2"])
    eventually(lambda: fleet.servers() == {"oca-1"}, "who is dead gets no clients")
    port = appliances["oca-2"].addresses[0].rpartition(":")[2]
    url = f"http://{fleet.operators}/v1/reports"
    again = start_appliance(folder, "oca-2", "site-oca-2", int(port), url)
    try:
        eventually(lambda: fleet.servers() == set(TOKENS), "who is back gets clients")
    finally:
        again.stop()


def test_communities(tmp_path: Path) -> None:
    """A route that is excluded serves nobody, a backup is the last; the next settings undo it."""
    ports = {name: free_port() for name in TOKENS}
    toml = "".join(map(entry_of, ports))
    meanings = '"65001:100" = "backup"\n"65001:1:666" = "exclude"'
    for name in ports:
        prepare(tmp_path, name)
    exabgp = Exabgp()
    marked = [
        exabgp.state("up"), exabgp.announce("11.0.0.0/8", communities=["65001:100"]),
        exabgp.announce("12.0.0.0/8", communities=["65001:1:666"]),
        exabgp.end_of_rib(4), exabgp.end_of_rib(6),
    ]  # fmt: skip
    (tmp_path / "oca-1" / "routes.jsonl").write_bytes(b"\n".join(marked) + b"\n")
    one, two = (f"unix:{tmp_path}/{name}/control" for name in ports)
    with ExitStack() as stack:
        fleet = stack.enter_context(FleetProcess.running(tmp_path, toml))
        url = f"http://{fleet.operators}/v1/reports"
        for name, port in ports.items():
            daemon = start_appliance(tmp_path, name, name, port, url, meanings)
            stack.callback(daemon.stop)
        eventually(lambda: fleet.servers() == set(TOKENS), "both may serve")
        assert first_ports(fleet) == {ports["oca-2"]}
        why = "oca-1 of site 'oca-1': its communities make its route a backup"
        assert why in ask(fleet, "explain", CLIENT, "film.mp4")
        assert fleet.servers("12.1.1.1") == set()
        assert "its communities make it a backup" in explain(one, CLIENT)
        assert "12.0.0.0/8 from 192.0.2.1 is not used: community" in explain(one, "12.1.1.1")
        operate(two, "drain", "--reason", "fans")
        eventually(lambda: first_ports(fleet) == {ports["oca-1"]}, "the backup is used")
        operate(two, "enable")
        config = tmp_path / "oca-1" / "ocaserve.toml"
        config.write_text(config.read_text().replace(meanings, ""))
        operate(one, "reload")
        eventually(lambda: fleet.servers("12.1.1.1") == {"oca-1"}, "it is not excluded any more")
        eventually(lambda: first_ports(fleet) == set(ports.values()), "both are equals")


def test_turn_up(tmp_path: Path) -> None:
    """No clients before all is well; the port that is closed is named."""
    prepare(tmp_path, "oca-1")
    closed, other = free_port(), free_port()
    url = f"http://127.0.0.1:{closed}"
    toml = f'turn_up = "checked"\nreport_ttl_s = {TTL_S}\n{entry_of("oca-1")}urls = ["{url}"]\n'

    with FleetProcess.running(tmp_path, toml) as fleet:
        push = f"http://{fleet.operators}/v1/reports"

        def failed() -> list[dict[str, str]]:
            rows = fleet.get("/v1/appliances").body["appliances"]
            return [each for row in rows for each in row["failed_checks"]]

        said = {"check": "contact_to", "why": f"{url}: port {closed}: connection refused"}
        daemon = start_appliance(tmp_path, "oca-1", "x", other, push)
        try:
            eventually(lambda: failed() == [said], "all but the port is well")
            reason = f"commissioning: contact to it: {said['why']}"
            skipped = [{"server": "oca-1", "why": "H", "reason": reason}]
            eventually(
                lambda: fleet.steer(CLIENT, "film.mp4")["skipped"] == skipped, "workers know"
            )
            assert fleet.servers() == set()
            assert f"  contact to: {said['why']}" in ask(fleet, "appliances")
        finally:
            daemon.stop()
        daemon = start_appliance(tmp_path, "oca-1", "x", closed, push)
        try:
            eventually(lambda: fleet.servers() == {"oca-1"}, "its port is open")
            assert failed() == []
        finally:
            daemon.stop()


def first_ports(fleet: FleetProcess) -> set[int]:
    """Where the first URLs of a client's objects are."""
    objects = fleet.steer(CLIENT, *(f"film-{number}.mp4" for number in range(24)))["objects"]
    return {urlsplit(urls[0]).port or 0 for urls in objects.values() if urls}


def explain(control: str, ip: str) -> str:
    """What an appliance says of a client."""
    command = [sys.executable, "-m", "ocaserve", "explain", ip, "--control", control]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout


def test_forged_reports_are_refused(network: Network) -> None:
    """And counted; what is known stays as it was."""
    fleet = network.fleet
    body = packed(report("oca-1", {"0.0.0.0/0": (0, 0)}, session="forged"))
    gzip = {"Content-Encoding": "gzip"}
    statuses = [
        fleet.post("/v1/reports", body, **gzip).status,
        fleet.post("/v1/reports", body, **gzip, Authorization="Bearer guess").status,
        fleet.post("/v1/reports", body, **gzip, Authorization=f"Bearer {TOKENS['oca-2']}").status,
        fleet.post("/v1/reports", packed({}), **gzip, Authorization=bearer("oca-1")).status,
    ]
    assert statuses == [401, 401, 403, 422]
    assert fleet.steer("12.1.1.1", "film.mp4")["servers"] == []
    counted = fleet.get("/v1/status").body["documents"]
    assert (counted["wrong_token"], counted["impostor"], counted["malformed"]) == (2, 1, 1)


def test_a_restart_answers_at_once(tmp_path: Path) -> None:
    """From what was kept: killed, it knows who hears whom before anybody has reported again."""
    tables = '[[fleet.appliance]]\nid = "oca-1"\nurls = ["http://192.0.2.1"]\n'
    with FleetProcess.running(tmp_path, tables) as fleet:
        document = report("oca-1", {"11.0.0.0/8": (1, 0), "2001:db8::/32": (2, 0)})
        assert fleet.post("/v1/reports", document).status == 204
        eventually(lambda: fleet.servers() == {"oca-1"}, "it is known")
        eventually(lambda: is_kept(tmp_path), "it is kept")
        fleet.process.kill()
        fleet.process.wait()
    with FleetProcess.running(tmp_path, tables) as fleet:
        eventually(lambda: fleet.servers() == {"oca-1"}, "it is still known")
        assert fleet.servers("2001:db8::1") == {"oca-1"}
        changes = report("oca-1", {"12.0.0.0/8": (1, 0)}, serial=2, after=1, gone=("11.0.0.0/8",))
        assert fleet.post("/v1/reports", changes).status == 204
        eventually(lambda: fleet.servers("12.1.1.1") == {"oca-1"}, "it goes on from there")
        eventually(lambda: not fleet.servers(), "what is withdrawn is gone")


def test_operating_by_commands(tmp_path: Path) -> None:
    """What was decided can be decided again; a drain is foreseen, obeyed, and outlives a crash."""
    toml = f'decision_log = "{tmp_path}/decisions.jsonl"\ndecision_log_share = 1.0\n'
    toml += "".join(
        f'[[fleet.appliance]]\nid = "{name}"\nurls = ["http://192.0.2.{number}"]\n'
        for number, name in enumerate(TOKENS, 1)
    )
    with FleetProcess.running(tmp_path, toml) as fleet:
        for name in TOKENS:
            assert fleet.post("/v1/reports", report(name, {"11.0.0.0/8": (1, 0)})).status == 204
        eventually(lambda: fleet.servers() == set(TOKENS), "both are known")
        assert "are alike" in ask(fleet, "audit")
        eventually(
            lambda: " 0 clients" not in f" {ask(fleet, 'what-if', '--appliance', 'oca-1')}",
            "the worker has told of its clients",
        )
        assert "nobody" not in ask(fleet, "what-if", "--appliance", "oca-1")
        told = ask(fleet, "what-if", "--prefix", "11.0.0.0/8", status=1)
        assert "would have nobody" in told
        assert "for want of coverage" in told
        assert "everybody is taken to have what is asked for, by the settings" in told
        assert "oca-1: drained here: fans" in ask(
            fleet, "drain", "--appliance", "oca-1", "--reason", "fans"
        )
        eventually(lambda: fleet.servers() == {"oca-2"}, "the drain is obeyed")
        eventually(lambda: is_kept(tmp_path, "drains"), "the drain is kept")
        fleet.process.kill()
        fleet.process.wait()
    log = tmp_path / "decisions.jsonl"
    with FleetProcess.running(tmp_path, toml) as fleet:
        eventually(lambda: fleet.servers() == {"oca-2"}, "it is still drained")
        assert "no appliance is drained" in ask(fleet, "enable", "--appliance", "oca-1")
        eventually(lambda: fleet.servers() == set(TOKENS), "both get clients")
        eventually(lambda: b"oca-2" in log.read_bytes(), "it is written down")
        assert ", 0 differences" in ask(None, "replay", str(log))
    other = log.read_text().replace('"oca-2"', '"oca-3"', 1)
    log.write_text(other)
    assert ask(None, "replay", str(log), status=1)


def ask(fleet: FleetProcess | None, *words: str, status: int = 0) -> str:
    """What a command says; it ends with that status."""
    command = [sys.executable, "-m", "ocaserve", "fleet", *words]
    if fleet is not None:
        command += ["--fleet", fleet.operators]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_instances_that_share(tmp_path: Path) -> None:
    """What one was told the other answers, when that one is killed, and the server as well."""
    tables = '[[fleet.appliance]]\nid = "oca-1"\nurls = ["http://192.0.2.1"]\n'
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    server = make_valkey()
    with ExitStack() as stack:
        server.start()
        stack.callback(lambda: server.stop() if server.is_running() else None)
        state = f"redis://127.0.0.1:{server.port}/0"
        one, two = (
            stack.enter_context(FleetProcess.running(tmp_path / name, tables, state=state))
            for name in ("one", "two")
        )
        assert one.post("/v1/reports", report("oca-1", {"11.0.0.0/8": (1, 0)})).status == 204
        eventually(lambda: two.servers() == {"oca-1"}, "the other one knows it")
        one.process.kill()
        one.process.wait()
        assert two.servers() == {"oca-1"}
        changes = report("oca-1", {"12.0.0.0/8": (1, 0)}, serial=2, after=1)
        assert two.post("/v1/reports", changes).status == 204
        again = stack.enter_context(FleetProcess.running(tmp_path / "one", tables, state=state))
        eventually(lambda: again.servers("12.1.1.1") == {"oca-1"}, "who comes back knows it all")
        server.stop()
        eventually(lambda: b"_shared_up 0.0" in again.get("/metrics").body, "the server is missed")
        assert again.servers() == two.servers() == {"oca-1"}
        assert "does not answer" in ask(two, "drain", "--appliance", "oca-1", status=1)
        assert two.servers() == {"oca-1"}


def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / "fleet.db").write_bytes(b"no database at all" * 1_000)
    with FleetProcess.running(tmp_path) as fleet:
        assert fleet.get("/v1/appliances").body == {"appliances": []}
    assert (tmp_path / "fleet.db.damaged").read_bytes().startswith(b"no database")
    assert "is put aside" in (tmp_path / "fleet.log").read_text()


def is_kept(folder: Path, what: str = "appliances") -> bool:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(folder / "fleet.db")) as connection:
        return bool(connection.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def bearer(name: str) -> str:
    return f"Bearer {TOKENS[name]}"


def fetch(url: str) -> str:
    """The SHA-256 of what is there."""
    where, _, path = url.removeprefix("http://").partition("/")
    answer = call(where, "GET", f"/{path}", None, {})
    assert answer.status == 200, url
    return hashlib.sha256(answer.body).hexdigest()


def operate(control: str, *words: str) -> None:
    import subprocess
    import sys

    subprocess.run(
        [sys.executable, "-m", "ocaserve", *words, "--control", control],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip

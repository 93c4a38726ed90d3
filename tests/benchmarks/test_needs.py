"""A run that cannot be whole is not begun, and says what it lacks."""

from __future__ import annotations

import resource
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from benchmarks import needs
from benchmarks.__main__ import choose, main
from benchmarks.errors import Refusal
from benchmarks.peers import PEERS
from benchmarks.scenarios import SCENARIOS
from benchmarks.stage import QUICK


def test_missing_programs_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    assert list(needs.missing_programs(["wrk", "nginx"])) == [
        "wrk is missing: apt-get install wrk (or: pkg install wrk)",
        "nginx is missing: apt-get install nginx-light (or: pkg install nginx)",
    ]


def test_missing_modules_are_named_once() -> None:
    found = list(needs.missing_modules(["json", "no_such_module", "no_such_module"]))
    assert found == ["the Python module no_such_module is missing: pip install no_such_module"]


def test_one_core_is_too_few() -> None:
    assert "this has 1" in next(needs.too_few_cores(1))
    assert list(needs.too_few_cores(2)) == []


def test_a_busy_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert list(needs.busy_ports([port])) == [
            f"port {port} on 127.0.0.1: Address already in use; choose others with --port"
        ]
    assert list(needs.busy_ports([port])) == []


def test_a_port_that_cannot_be_is_named() -> None:
    assert "the highest is 65535" in next(needs.busy_ports([65_536]))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1 << 30))
    assert list(needs.too_little_space(tmp_path, 3 << 30)) == [
        f"{tmp_path}: 1,024 MiB free, 3,072 MiB needed; choose another disk with --scratch"
    ]


def test_too_few_descriptors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert "10200 open files are needed, 4096 allowed" in next(needs.too_few_descriptors(10_200))


def test_other_systems_are_refused() -> None:
    assert "this is freebsd14" in next(needs.wrong_system("freebsd14"))


def test_programs_are_those_of_the_clients_and_of_the_servers() -> None:
    assert needs.needed_programs([SCENARIOS["paced"]]) == ["strace", "nginx"]
    assert needs.needed_programs([SCENARIOS["64k"]]) == ["wrk", "nginx"]


def test_all_that_is_missing_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    with pytest.raises(Refusal) as caught:
        needs.check([SCENARIOS["64k"]], QUICK, tmp_path, 18_480)
    said = str(caught.value)
    assert "wrk is missing" in said
    assert "MiB needed" in said


def test_the_command_says_it_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    output, scratch = tmp_path / "output", tmp_path / "scratch"
    scratch.mkdir()
    done = CliRunner().invoke(
        main, ["--only", "64k", "--output", str(output), "--scratch", str(scratch)]
    )
    assert done.exit_code == 1
    assert "benchmarks: wrk is missing" in done.output
    assert not output.exists()
    assert list(scratch.iterdir()) == []


def test_a_scenario_that_there_is_not_is_wrong_usage() -> None:
    done = CliRunner().invoke(main, ["--only", "65k"])
    assert done.exit_code == 2
    assert "'65k' is none of 1k, 16k, 64k" in done.output


def test_scenarios_are_listed() -> None:
    done = CliRunner().invoke(main, ["--list"])
    assert [line.split()[0] for line in done.output.splitlines()] == list(SCENARIOS)


def test_a_quick_run_leaves_some_out_unless_they_are_named() -> None:
    every = [one.name for one in choose((), quick=False)]
    assert every == list(SCENARIOS)
    quick = [one.name for one in choose((), quick=True)]
    assert {"64k", "tls-64k", "tls-new"} <= set(quick) < set(every)
    assert [one.name for one in choose(("tls-8m",), quick=True)] == ["tls-8m"]


def test_servers_speak_tls_where_it_is_measured() -> None:
    values = dict.fromkeys(
        ("folder", "store", "python", "range_bytes", "port", "tls_port", "control_port"), "x"
    ) | {"certificate": "a.pem", "key": "a.key"}
    for peer in choose(("tls-64k",), quick=False)[0].peers:
        assert "a.pem" not in (PEERS[peer].configuration(values) or "")
        assert "a.pem" in (PEERS[peer].configuration(values, is_tls=True) or "")


def test_servers_get_ports_of_their_own() -> None:
    ports = [port for peer in PEERS.values() for port in peer.ports(18_480).values()]
    assert len(set(ports)) == len(ports)
    assert max(ports) < 18_480 + 10

"""What the appliance does when the control plane does not take its reports: as it is told."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = pytest.mark.scenario


def settings(port: int, policy: str) -> str:
    return (
        f'[report]\npush_url = "http://127.0.0.1:{port}/reports"\nlost_after_s = 1\n'
        f'[drain]\nlost_contact = "{policy}"\n[health]\nrise_s = 3600\n'
    )


def fitness(daemon: Daemon) -> int:
    return fetch(daemon.address, request("/healthz")).status


@pytest.mark.parametrize(("policy", "status"), [("withdraw", 503), ("serve", 200)])
def test_lost_contact(serve: Serve, tmp_path: Path, policy: str, status: int) -> None:
    """`withdraw` tells load balancers to send nobody; `serve` goes on. Either serves who comes."""
    (tmp_path / "a.mp4").write_bytes(b"film")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        with serve(tmp_path, toml=settings(nobody.getsockname()[1], policy)) as daemon:
            eventually(lambda: "plane is lost" in daemon.log.read_text(), "the log says why")
            eventually(lambda: fitness(daemon) == status, "the policy holds")
            assert fetch(daemon.address, request("/a.mp4")).body == b"film"

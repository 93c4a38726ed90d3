"""What the appliance says and does when the control plane takes no reports: as it is told."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.conftest import Serve
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.waiting import eventually
from tests.support.wire import fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]


def settings(port: int, policy: str, lost_after_s: int = 1) -> str:
    return (
        f'[report]\npush_url = "http://127.0.0.1:{port}/reports"\nlost_after_s = {lost_after_s}\n'
        f'[drain]\nlost_contact = "{policy}"\n'
        "[health]\nrise_s = 3600\ncontact_warning_s = 1\n"
    )


def fitness(daemon: Daemon) -> int:
    return fetch(daemon.address, request("/healthz")).status


def contact(daemon: Daemon) -> tuple[str, str]:
    """What health says of the control plane: (level, reason)."""
    rows = call(daemon.control_addresses[0], "GET", "/v1/health").json["components"]
    return next(
        ((row["level"], row["reason"]) for row in rows if row["name"] == "control_plane"), ("", "")
    )


class Taker(http.server.BaseHTTPRequestHandler):
    """A control plane that takes whatever it is told."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - likewise
        """Nothing: pushes are no news."""


@contextmanager
def control_plane(port: int) -> Iterator[None]:
    """One that listens there."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Taker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def reserved() -> Iterator[int]:
    """A port that refuses connections until a server of ours takes it."""
    with socket.socket() as nobody:
        nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        nobody.bind(("127.0.0.1", 0))  # bound and not listening
        yield nobody.getsockname()[1]


@pytest.mark.parametrize(("policy", "status"), [("withdraw", 503), ("serve", 200)])
def test_lost_contact(serve: Serve, tmp_path: Path, policy: str, status: int) -> None:
    """`withdraw` tells load balancers to send nobody; `serve` goes on. Either serves who comes.

    So it stays when control is replaced; and all is well again when a report is taken.
    """
    (tmp_path / "a.mp4").write_bytes(b"film")
    with reserved() as port, serve(tmp_path, toml=settings(port, policy)) as daemon:
        eventually(lambda: contact(daemon)[0] == "error", "it is lost")
        assert "has taken no report for" in contact(daemon)[1]
        assert "plane is lost" in daemon.log.read_text()
        eventually(lambda: fitness(daemon) == status, "the policy holds")
        assert fetch(daemon.address, request("/a.mp4")).body == b"film"
        os.kill(daemon.control(), signal.SIGKILL)
        eventually(lambda: contact(daemon)[0] == "error", "the successor knows")
        assert fitness(daemon) == status
        with control_plane(port):
            eventually(lambda: contact(daemon)[0] == "ok", "reports are taken", timeout_s=60)
            eventually(lambda: fitness(daemon) == 200, "clients may come")


def test_late_report(serve: Serve, tmp_path: Path) -> None:
    """A warning, long before the control plane counts as lost."""
    with (
        reserved() as port,
        serve(tmp_path, toml=settings(port, "withdraw", lost_after_s=3600)) as daemon,
    ):
        eventually(lambda: contact(daemon)[0] == "warning", "it is late")
        assert fitness(daemon) == 200
        with control_plane(port):
            eventually(lambda: contact(daemon)[0] == "ok", "reports are taken", timeout_s=60)

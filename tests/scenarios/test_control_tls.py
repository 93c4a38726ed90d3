"""The control interface over TLS: who may, with which certificate, also after an upgrade."""

from __future__ import annotations

import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import Pair, make_pair
from tests.support.content import blob, write_object
from tests.support.control_client import Answer, call
from tests.support.daemon import STOP_S, Daemon
from tests.support.upgrades import upgraded
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

OPERATE = "operate-token-0123456789"
NAME = "localhost"


class Guarded(NamedTuple):
    """A running appliance, the file of its settings, and its certificate."""

    daemon: Daemon
    config: Path
    pair: Pair

    @property
    def address(self) -> str:
        return self.daemon.control_addresses[0]

    def call(self, method: str, path: str, token: str = "") -> Answer:
        """As who believes its certificate and no other."""
        host = f"{NAME}:{self.address.rpartition(':')[2]}"
        return call(host, method, path, token=token, tls=trusting(self.pair))

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """As an operator on the machine: the settings have the token and the certificate."""
        return run(*words, "-c", str(self.config), "--control", self.address)

    def shown(self) -> bytes:
        """The certificate that a client is shown."""
        host, _, port = self.address.rpartition(":")
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port))))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ocaserve", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def trusting(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pair.cert)
    return context


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    write_object(tmp_path / "store", "a.mp4", blob(1000))
    pair = make_pair(tmp_path, "control", NAME)
    config = tmp_path / "ocaserve.toml"
    config.write_text(
        '[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\nworkers = 1\n'
        "[health]\nrise_s = 3600\nfall_s = 0\n"
        f'[control]\nlisten = ["127.0.0.1:0"]\ncertificate = "{pair.cert}"\nkey = "{pair.key}"\n'
        f'[control.tokens]\noperate = ["{OPERATE}"]\n'
        f'[[store]]\npath = "{tmp_path}/store"\n'
    )
    daemon = Daemon.start(["serve", "-c", str(config)], tmp_path / "log")
    try:
        yield Guarded(daemon, config, pair)
    finally:
        daemon.stop()


def test_tokens_over_tls(guarded: Guarded) -> None:
    """As without; and who speaks no TLS hears nothing."""
    assert guarded.call("GET", "/v1/status").status == 200
    assert guarded.call("POST", "/v1/enable").status == 401
    assert guarded.call("POST", "/v1/enable", "wrong-token-0123456789").status == 401
    assert guarded.call("POST", "/v1/enable", OPERATE).status == 200
    with pytest.raises(OSError, match=r"."):
        call(guarded.address, "GET", "/v1/status")


def test_commands_over_tls(guarded: Guarded) -> None:
    """They believe the certificate of the settings, expired or not, and no other."""
    done = guarded.command("drain", "--reason", "new disk")
    assert (done.returncode, done.stderr) == (0, "")
    assert "draining: new disk" in done.stdout
    make_pair(guarded.pair.cert.parent, "control", NAME, ends=timedelta(hours=-1))
    eventually(lambda: guarded.shown() == guarded.pair.der(), "the expired one is shown")
    assert guarded.command("enable").returncode == 0
    other = make_pair(guarded.config.parent, "other", NAME)
    elsewhere = guarded.config.with_name("other.toml")
    text = guarded.config.read_text().replace(str(guarded.pair.cert), str(other.cert))
    elsewhere.write_text(text.replace(str(guarded.pair.key), str(other.key)))
    for refused in (
        guarded._replace(config=elsewhere).command("status"),
        run("status", "--control", f"https://{guarded.address}"),
    ):
        assert refused.returncode == 1
        assert "certificate verify failed" in refused.stderr


def test_commands_of_other_settings(guarded: Guarded, tmp_path: Path) -> None:
    """Who takes TLS for none, or none for TLS, is told so."""
    plain = tmp_path / "plain.toml"
    lines = guarded.config.read_text().splitlines()
    kept = [line for line in lines if not line.startswith(("certificate =", "key ="))]
    plain.write_text("\n".join(kept))
    done = guarded._replace(config=plain).command("status")
    assert done.returncode == 1
    assert "as where TLS is spoken; https:// in front of an address" in done.stderr
    daemon = Daemon.start(["serve", "-c", str(plain)], tmp_path / "other-log")
    try:
        done = guarded._replace(daemon=daemon).command("status")
    finally:
        daemon.stop()
    assert done.returncode == 1
    assert "no TLS is spoken there; https:// in front of an address" in done.stderr


def test_renewed_certificate(guarded: Guarded) -> None:
    """It is shown without a restart; a pair that does not fit leaves the one of before."""
    before, pid = guarded.pair.der(), guarded.daemon.control()
    assert guarded.shown() == before
    make_pair(guarded.pair.cert.parent, "control", NAME)
    assert guarded.pair.der() != before
    eventually(lambda: guarded.shown() == guarded.pair.der(), "the new one is shown")
    kept = guarded.pair.der()
    key = guarded.pair.key.read_text()
    guarded.pair.key.write_text(make_pair(guarded.config.parent, "other", NAME).key.read_text())
    eventually(
        lambda: "belongs to another certificate" in guarded.daemon.log.read_text(), "it is told"
    )
    assert guarded.shown() == kept
    assert guarded.daemon.control() == pid
    assert key not in guarded.daemon.log.read_text()


def test_upgrade(guarded: Guarded) -> None:
    """The new version answers on the same port with TLS, and knows of the drain."""
    assert guarded.command("drain", "--reason", "before").returncode == 0
    with upgraded(guarded.daemon):
        assert guarded.daemon.process.wait(STOP_S) == 0
        status = guarded.call("GET", "/v1/status").json
        assert (status["reason"], status["takes_traffic"]) == ("before", False)
        assert guarded.shown() == guarded.pair.der()
        assert guarded.call("POST", "/v1/enable").status == 401
        assert guarded.call("POST", "/v1/enable", OPERATE).status == 200

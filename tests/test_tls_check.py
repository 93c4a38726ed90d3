"""`ocaserve check` on certificates: each fault with its file, and no key's text."""

from __future__ import annotations

import errno
import json
import os
import socket
import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from ocaserve.cli import main
from tests.support.certificates import Pair, make_pair

TCP_ULP = 31
_HOUR = timedelta(hours=1)


def check(folder: Path, *pairs: Pair) -> tuple[int, str]:
    """The exit status, and all that was said."""
    listed = ", ".join(pair.toml for pair in pairs)
    return check_table(folder, f'listen = ["127.0.0.1:0"]\ncertificates = [{listed}]\n')


def check_table(folder: Path, tls: str) -> tuple[int, str]:
    """The same, with all that stands in [tls]."""
    (folder / "store").mkdir(exist_ok=True)
    file = folder / "ocaserve.toml"
    file.write_text(
        f'[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\n[tls]\n{tls}\n'
        f"[[store]]\npath = {json.dumps(str(folder / 'store'))}\n"
    )
    done = CliRunner().invoke(main, ["check", "-c", str(file)])
    return done.exit_code, done.output


def expired(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example", ends=-_HOUR)


def early(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example", starts=_HOUR)


def key_of_another(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example")._replace(key=make_pair(folder, "c", "c").key)


def key_of_another_kind(folder: Path) -> Pair:
    other = make_pair(folder, "c", "c", kind="rsa")
    return make_pair(folder, "b", "b.example")._replace(key=other.key)


def no_cert(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example")._replace(cert=folder / "none.pem")


def no_key(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example")._replace(key=folder / "none.key")


def folder_for_cert(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example")._replace(cert=folder)


def folder_for_key(folder: Path) -> Pair:
    return make_pair(folder, "b", "b.example")._replace(key=folder)


def der_cert(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    pair.cert.write_bytes(pair.der())
    return pair


def text_cert(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    pair.cert.write_text("to be ordered\n")
    return pair


def broken_cert(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    pair.cert.write_text(ssl.DER_cert_to_PEM_cert(pair.der()[:-20]))
    return pair


def text_key(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    pair.key.write_text("to be ordered\n")
    return pair


def cert_for_key(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    return pair._replace(key=pair.cert)


def key_with_passphrase(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return pair


def key_for_everybody(folder: Path) -> Pair:
    pair = make_pair(folder, "b", "b.example")
    pair.key.chmod(0o644)
    return pair


@pytest.mark.parametrize(
    ("make", "setting", "file", "fault"),
    [
        pytest.param(expired, "cert", "b.pem", "expired on 2", id="expired"),
        pytest.param(early, "cert", "b.pem", "not valid before 2", id="not_valid_yet"),
        pytest.param(
            key_of_another, "key", "c.key", "belongs to another certificate", id="key_of_another"
        ),
        pytest.param(
            key_of_another_kind, "key", "c.key", "belongs to another certificate",
            id="key_of_another_kind",
        ),
        pytest.param(no_cert, "cert", "none.pem", "No such file", id="no_cert"),
        pytest.param(no_key, "key", "none.key", "No such file", id="no_key"),
        pytest.param(folder_for_cert, "cert", "", "can be read", id="cert_unreadable"),
        pytest.param(folder_for_key, "key", "", "can be read", id="key_unreadable"),
        pytest.param(der_cert, "cert", "b.pem", "must be PEM", id="cert_in_der"),
        pytest.param(text_cert, "cert", "b.pem", "holds no certificate", id="cert_is_text"),
        pytest.param(broken_cert, "cert", "b.pem", "holds no certificate", id="cert_cut"),
        pytest.param(text_key, "key", "b.key", "must be a private key in PEM", id="key_is_text"),
        pytest.param(
            cert_for_key, "key", "b.pem", "must be a private key in PEM", id="key_is_cert"
        ),
        pytest.param(
            key_with_passphrase, "key", "b.key", "without a passphrase", id="key_with_passphrase"
        ),
        pytest.param(
            key_for_everybody, "key", "b.key", "everybody can read it", id="key_for_everybody"
        ),
    ],
)  # fmt: skip
def test_fault(
    tmp_path: Path, make: Callable[[Path], Pair], setting: str, file: str, fault: str
) -> None:
    """Of the second certificate, beside one that is good."""
    good, bad = make_pair(tmp_path, "a", "a.example"), make(tmp_path)
    status, said = check(tmp_path, good, bad)
    assert status == 0  # the other one is served
    (line,) = [line for line in said.splitlines() if "warning: tls." in line]
    assert f"tls.certificates[1].{setting} = " in line
    assert str(tmp_path / file) in line
    assert fault in line
    assert not [text for text in texts_of_keys(tmp_path) if text in said]


def texts_of_keys(folder: Path) -> list[str]:
    files = [file.read_text().splitlines() for file in folder.glob("*.key")]
    return [line for lines in files for line in lines[1:-1]]


def test_good(tmp_path: Path) -> None:
    pairs = [make_pair(tmp_path, "a", "a.example"), make_pair(tmp_path, "b", "b.example")]
    status, said = check(tmp_path, *pairs)
    assert status == 0
    assert "and with TLS on   127.0.0.1:0" in said


@pytest.mark.parametrize("kept", ["apart", "together"])
def test_key_of_control_for_everybody(tmp_path: Path, kept: str) -> None:
    """It is named, wherever it is kept."""
    pair = make_pair(tmp_path, "a", "a.example")
    toml = f'[control]\ncertificate = "{pair.cert}"\nkey = "{pair.key}"\n'
    name = "control.key"
    if kept == "together":
        pair.cert.write_text(pair.cert.read_text() + pair.key.read_text())
        toml, name = f'[control]\ncertificate = "{pair.cert}"\n', "control.certificate"
    pair.key.chmod(0o644)
    status, said = check_table(tmp_path, toml)
    assert status == 0
    assert f"warning: {name} = " in said
    assert "everybody can read it; must be for its owner, or a group, only (0640)" in said


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        pytest.param(
            'listen = ["unix:/run/x"]', "tls.listen[0] = 'unix:/run/x': must be a TCP", id="unix"
        ),
        pytest.param('ciphers = "NONE-SUCH"', "tls.ciphers = 'NONE-SUCH': must be", id="cipher"),
        pytest.param('min_version = "1.1"', "tls.min_version = '1.1': must be", id="version"),
        pytest.param('ktls = "on"', "tls.ktls = 'on': must be", id="ktls"),
        pytest.param("handshakes = 0", "tls.handshakes = 0: must be", id="handshakes"),
        pytest.param("handshake_s = 0", "tls.handshake_s = 0: must be", id="handshake_s"),
        pytest.param("certificate = []", "did you mean 'certificates'?", id="misspelt"),
        pytest.param("certificates = []", "tls.certificates: missing", id="no_certificate"),
        pytest.param(
            'certificates = [{ cert = "a.pem" }]', "tls.certificates[0].key: missing", id="no_key"
        ),
    ],
)
def test_setting(tmp_path: Path, more: str, fault: str) -> None:
    """One at a time, beside what is good."""
    pair = make_pair(tmp_path, "a", "a.example")
    good = {"listen": '["127.0.0.1:0"]', "certificates": f"[{pair.toml}]"}
    lines = [f"{name} = {value}" for name, value in good.items() if not more.startswith(name + " ")]
    status, said = check_table(tmp_path, "\n".join([*lines, more]))
    assert status == 1
    assert fault in said


@pytest.mark.parametrize(
    ("platform", "why"), [("freebsd14", "Linux alone"), ("linux", "modprobe tls")]
)
def test_tls_in_the_kernel_where_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, why: str
) -> None:
    """To require it is an error; "auto" does without."""

    class Kernel(socket.socket):
        def setsockopt(self, level: int, option: int, *value: Any) -> None:
            if option != TCP_ULP:
                super().setsockopt(level, option, *value)
                return
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    monkeypatch.setattr("ocaserve.kernel_tls.sys.platform", platform)
    monkeypatch.setattr("ocaserve.kernel_tls.socket.socket", Kernel)
    pair = make_pair(tmp_path, "a", "a.example")
    good = f'listen = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
    status, said = check_table(tmp_path, f'{good}ktls = "require"')
    assert status == 1
    assert "tls.ktls = 'require': TLS in the kernel" in said
    assert why in said
    assert check_table(tmp_path, f'{good}ktls = "auto"')[0] == 0

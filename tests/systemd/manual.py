"""The operator's manual, done word by word: its commands are run and its configuration is written,
in its order, on a machine that has had no appliance.
"""

from __future__ import annotations

import http.client
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.systemd.means import attempt, eventually, run, show

PAGE = Path("/root/manual.md")
CONFIG = Path("/etc/ocaserve/ocaserve.toml")
PLACE = Path("/root/source")  # where the manual's reader has built the package

# Built elsewhere (`make test-deb` does).
_NOT_HERE = ("./dev deb",)
# What is out of tune in the machine, that no router announces the client, and that emulation keeps
# the processors busy, is told by status 1.
_MAY_COMPLAIN = ("ocaserve doctor", "ocaserve explain", "ocaserve status")


class Block(NamedTuple):
    """One fenced block of the page."""

    language: str
    text: str


def blocks() -> Iterator[Block]:
    for language, text in re.findall(
        r"^```(sh|toml)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        yield Block(language, text)


def try_manual(package: str) -> None:
    """From the installation to the socket."""
    (PLACE / "dist").mkdir(parents=True)
    shutil.copy(package, PLACE / "dist" / "ocaserve_0.1.0_amd64.deb")
    shutil.rmtree("/srv/oca", ignore_errors=True)  # of an appliance before
    run("ip", "address", "add", "192.0.2.10/32", "dev", "lo")
    has_config = False
    for block in blocks():
        if block.language == "sh":
            for line in block.text.splitlines():
                obey(line)
            provide()
            if has_config:
                run("systemctl", "reload-or-restart", "ocaserve")
            continue
        with CONFIG.open("a" if has_config else "w") as file:
            file.write(block.text)
        has_config = True
    film = Path("/srv/oca/disk1/film.mp4")
    film.write_bytes(b"film")
    eventually("the object is served by its signed URL", lambda: fetch_signed() == b"film")
    show("after the manual, word by word: an object is served by its signed URL", good=True)


def fetch_signed() -> bytes:
    """The object, asked for by the URL that the manual's command prints."""
    host = "oca-1.example.net"
    url = run("ocaserve", "sign", "-c", str(CONFIG), f"http://{host}/film.mp4").strip()
    connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=60)
    try:
        connection.request("GET", url.partition(host)[2], headers={"Host": host})
        return connection.getresponse().read()
    except OSError:  # it is being reloaded for the last time
        return b""
    finally:
        connection.close()


def obey(line: str) -> None:
    """One command of the manual."""
    if line.startswith(_NOT_HERE):
        return
    status, text = attempt("sh", "-c", f"cd {PLACE} && {line}")
    fine = status == 0 or (status == 1 and line.startswith(_MAY_COMPLAIN))
    show(f"`{line}`" + ("" if fine else f": status {status}\n{text}"), fine)


def provide() -> None:
    """What the manual has its reader bring: a certificate and its key, keys to sign, tokens."""
    folder = CONFIG.parent
    if not folder.exists() or (folder / "a.pem").exists():
        return
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-subj", "/CN=oca-1.example.net", "-days", "90",
        "-keyout", str(folder / "a.key"), "-out", str(folder / "a.pem"))  # fmt: skip
    secret = "ab" * 32
    for name, text in (
        ("keys.toml", f'"1" = "{secret}"'),
        ("tokens.toml", f'operate = ["{secret}"]'),
    ):
        file = folder / name
        file.write_text(text + "\n")
        file.chmod(0o400)
        run("chown", "ocaserve:", str(file))

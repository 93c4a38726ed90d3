"""Nothing secret is in any output: documents, metrics, pages, streams, problems, logs, commands.

One appliance has a secret of each kind that there is. All that it says is searched for all of them,
after everything that could make it talk: wrong tokens, faulty settings, a killed control process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.certificates import make_pair
from tests.support.content import blob, write_object
from tests.support.control_client import call
from tests.support.daemon import Daemon
from tests.support.processes import children
from tests.support.routers import PORT, loopback
from tests.support.waiting import eventually
from tests.support.wire import Wire, fetch, request

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(120)]

READ, OPERATE = "read-secret-0123456789", "operate-secret-0123456789"
FILED, PUSHED = "filed-secret-0123456789", "pushed-secret-0123456789"
WRONG = "wrong-secret-0123456789"
MD5 = "md5-secret-0123456789"
SIGNING = "5e" * 20
QUERIES = {
    "/v1/explain": ["?ip=192.0.2.7", f"?ip={OPERATE}"],
    "/v1/routes/lookup": ["?at=192.0.2.7", f"?at={OPERATE}"],
    "/v1/report/changes": ["?session=x&after=0"],
}
COMMANDS = (
    ("status",), ("status", "--json"), ("ledger",), ("ledger", "--json"), ("ledger", "--csv"),
    ("inventory",), ("routes",), ("routes", "--peers"), ("routes", "--filtered"), ("report",),
    ("explain", "192.0.2.7"), ("drain",), ("enable", "--json"), ("reload", "--json"),
)  # fmt: skip


class Subject(NamedTuple):
    """The appliance, the file of its settings, and all its secrets."""

    daemon: Daemon
    config: Path
    secrets: tuple[str, ...]

    @property
    def control(self) -> str:
        return self.daemon.control_addresses[0]


def private(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    write_object(tmp_path / "store", "a.mp4", blob(1000))
    pair = make_pair(tmp_path, "pair", "localhost")
    tokens = private(tmp_path / "tokens.toml", f'operate = ["{FILED}"]\n')
    push = private(tmp_path / "push", f"{PUSHED}\n")
    md5 = private(tmp_path / "md5", f"{MD5}\n")
    config = tmp_path / "ocaserve.toml"
    config.write_text(
        '[serve]\nlisten = ["127.0.0.1:0"]\nworkers = 1\naccess_log = "off"\n'
        f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
        f'[signing]\nrequired = true\nkeys = {{ "1" = "{SIGNING}" }}\n'
        f'[control]\nlisten = ["127.0.0.1:0"]\ntokens_file = "{tokens}"\n'
        f'[control.tokens]\nread = ["{READ}"]\noperate = ["{OPERATE}"]\n'
        f'[report]\npush_url = "http://127.0.0.1:1/"\ntoken_file = "{push}"\n'
        '[bgp]\nrouter_id = "192.0.2.10"\nlocal_as = 65000\n'
        f'[[bgp.neighbor]]\naddress = "{loopback()}"\npeer_as = 65001\nport = {PORT}\n'
        f'local_address = "{loopback()}"\nmd5_file = "{md5}"\n'
        f'[[store]]\npath = "{tmp_path}/store"\n'
    )
    key = "".join(pair.key.read_text().splitlines()[1:-1])
    secrets = (READ, OPERATE, FILED, PUSHED, WRONG, MD5, SIGNING, key[48:88], key[-40:])
    daemon = Daemon.start(["serve", "-c", str(config)], tmp_path / "log")
    try:
        yield Subject(daemon, config, secrets)
    finally:
        daemon.stop()


def all_answers(subject: Subject) -> Iterator[tuple[str, str]]:
    """Of every operation, to each kind of caller: (where, what)."""
    document = call(subject.control, "GET", "/v1/openapi.json").json
    for path, methods in document["paths"].items():
        for method in methods:
            if path.endswith("/events"):
                yield path, first_event(subject, path)
                continue
            for query in QUERIES.get(path, [""]):
                where = f"{method.upper()} {path}{query}"
                target = path.replace("{name}", "Status").replace("{id}", "none") + query
                for token in ("", READ, OPERATE, FILED, WRONG):
                    if method == "get" or token in ("", READ, WRONG):
                        answer = call(subject.control, method.upper(), target, token=token)
                        yield where, f"{dict(answer.headers)} {answer.text}"
                if method == "post":
                    bad = {"reason": "x", "no": 1}
                    yield where, call(subject.control, "POST", target, bad, token=OPERATE).text


def first_event(subject: Subject, path: str) -> str:
    host, _, port = subject.control.rpartition(":")
    with Wire((host, int(port))) as stream:
        stream.send(request(path, host="localhost"))
        said = b""
        while said.count(b"data: ") < 1 or not said.endswith(b"\n\n"):
            said += stream.read_exactly(1)
        return said.decode()


def run(subject: Subject, *words: str) -> str:
    command = [sys.executable, "-m", "ocaserve", *words, "-c", str(subject.config)]
    if words[0] not in ("check", "doctor"):
        command += ["--control", subject.control]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_nothing_secret_in_any_output(subject: Subject) -> None:
    """Nor in the command line of any process of the appliance."""
    daemon = subject.daemon
    for path in ("/a.mp4", "/a.mp4?v=1&e=1&t=x"):
        assert fetch(daemon.address, request(path)).status == 403
    said = list(all_answers(subject))
    said += [
        (" ".join(words), run(subject, *words)) for words in (*COMMANDS, ("check",), ("doctor",))
    ]
    os.kill(daemon.control(), signal.SIGKILL)
    said += list(all_answers(subject))
    said += list(faults(subject))
    said += list(command_lines(daemon))
    said.append(("the log", log(daemon)))
    assert any("(hidden)" in text for where, text in said if where == "GET /v1/settings")
    assert "a wrong token from 127.0.0.1" in log(daemon)
    for where, text in said:
        joined = re.sub(r"\s|\\n", "", text)  # a key may be told in lines
        # What the caller has sent itself may come back to it.
        assert [each for each in subject.secrets if each in joined and each not in where] == [], (
            where
        )


def command_lines(daemon: Daemon) -> Iterator[tuple[str, str]]:
    for pid in (daemon.pid, *children(daemon.pid)):
        with suppress(FileNotFoundError):  # it has ended meanwhile
            yield f"{pid}", Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")


def faults(subject: Subject) -> Iterator[tuple[str, str]]:
    """What is said of secrets that are not allowed as they stand; the log says it too."""
    text = subject.config.read_text()
    for secret in (SIGNING, OPERATE):
        told = log(subject.daemon).count("must be")
        subject.config.write_text(text.replace(secret, f"{secret}!"))
        checked = run(subject, "check")
        assert "must be" in checked
        yield "check of a fault", checked
        subject.daemon.signal(signal.SIGHUP)
        eventually(partial(is_told_more, subject.daemon, told), "the log says so")


def is_told_more(daemon: Daemon, before: int) -> bool:
    return log(daemon).count("must be") > before


def log(daemon: Daemon) -> str:
    return daemon.log.read_text()

"""What `check` calls good `serve` starts with, and what it refuses `serve` refuses too."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ocaserve.cli import main
from tests.support.daemon import Daemon
from tests.support.processes import children_named
from tests.support.waiting import eventually

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(90)]

REFUSED = [
    pytest.param('[serve]\nlisten = ["192.0.2.1:80"]', id="address_of_another_host"),
    pytest.param('[serve]\nlisten = ["unix:FOLDER/none/x"]', id="no_folder"),
    pytest.param('[serve]\nlisten = ["unix:FOLDER/file"]', id="no_socket"),
    pytest.param('[serve]\nlisten = ["[fe80::1%lo]:80"]', id="zone"),
    pytest.param('[[store]]\npath = "FOLDER/none"', id="no_store"),
    pytest.param('[[store]]\npath = "FOLDER/fifo"', id="store_that_is_a_pipe"),
    pytest.param('[signing]\nkeys_file = "FOLDER/none"', id="no_keys"),
    pytest.param('[serve]\naccess_log = "a\\u0000b"', id="nul"),
]
GOOD = [
    pytest.param("", id="plain"),
    pytest.param(
        '[serve]\nlisten = ["127.0.0.1:0", "192.0.2.1:80", "unix:FOLDER/none/x"]\n'
        'access_log = "FOLDER/none/log"\n[control]\nlisten = ["unix:FOLDER/none/y"]\n'
        '[appliance]\nstate_directory = "FOLDER/none"\n[ledger]\ndirectory = "FOLDER/none/ledger"\n'
        '[bgp]\nrpki_vrps = "FOLDER/none"\nrecording = "FOLDER/none"\n'
        '[report]\ntoken_file = "FOLDER/none"\n[tls]\nlisten = ["127.0.0.1:0", "192.0.2.1:443"]\n'
        'certificates = [{ cert = "FOLDER/none", key = "FOLDER/file" }]\n'
        '[[store]]\npath = "FOLDER/disk1"\n[[store]]\npath = "FOLDER/none"',
        id="everything_around_it_is_bad",
    ),
    pytest.param(
        '[control]\nlisten = ["unix:FOLDER/control", "127.0.0.1:0"]\ntokens_file = "FOLDER/none"\n'
        'certificate = "FOLDER/file"',
        id="control_without_tokens_and_certificate",
    ),
    pytest.param('[serve]\naccess_log = "FOLDER/disk1"', id="log_that_is_a_folder"),
]


def write(folder: Path, toml: str) -> str:
    (folder / "disk1").mkdir()
    (folder / "file").touch()
    (folder / "file").chmod(0o600)
    os.mkfifo(folder / "fifo")
    for table, needed in (
        ("serve", 'listen = ["127.0.0.1:0"]'),
        ("control", 'listen = ["unix:FOLDER/control"]'),
    ):
        if f"[{table}]" not in toml:
            toml = f"[{table}]\n{needed}\n{toml}"
        elif table == "serve" and "[serve]\nlisten" not in toml:
            toml = toml.replace("[serve]\n", f"[serve]\n{needed}\n")
    if "[[store]]" not in toml:
        toml += '\n[[store]]\npath = "FOLDER/disk1"'
    file = folder / "ocaserve.toml"
    file.write_text(toml.replace("FOLDER", str(folder)))
    return str(file)


def check(file: str) -> dict[str, list[str]]:
    done = CliRunner().invoke(main, ["check", "-c", file, "--json"])
    found: dict[str, list[str]] = json.loads(done.stdout)
    assert done.exit_code == (1 if found["faults"] else 0)
    return found


@pytest.mark.parametrize("toml", REFUSED)
def test_refused_by_both(tmp_path: Path, toml: str) -> None:
    file = write(tmp_path, toml)
    assert len(check(file)["faults"]) == 1
    with pytest.raises(AssertionError, match="did not start: ") as caught:
        Daemon.start(["serve", "-c", file, "--workers", "1"], tmp_path / "log")
    said = str(caught.value)
    assert "Traceback" not in said
    assert "workers do not start" not in said  # it is known before


@pytest.mark.parametrize("toml", GOOD)
def test_good_for_both(tmp_path: Path, toml: str) -> None:
    """Whatever is bad around it, and each part of that is named when it starts."""
    file = write(tmp_path, toml)
    found = check(file)
    assert found["faults"] == []
    daemon = Daemon.start(["serve", "-c", file, "--workers", "1"], tmp_path / "log")
    try:
        eventually(lambda: len(children_named(daemon.pid, "oca-control")) == 1, "control is there")
        said = daemon.log.read_text()
        assert "Traceback" not in said
        for warning in found["warnings"]:
            assert warning.partition(" cannot listen")[0] in said or "listen[" in warning
        for address in ("192.0.2.1:80", "192.0.2.1:443", "none/x", "none/y"):
            assert address in said or address not in Path(file).read_text()
    finally:
        daemon.stop()

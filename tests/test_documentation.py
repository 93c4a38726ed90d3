"""The documentation holds: each command runs, each configuration loads, each link leads somewhere.

Blocks marked `sh` are commands, one a line. Those of our own program are run against a running
appliance, with the paths and the configuration of the test in place of the manual's; `serve` is, in
a network of its own. Those that change the host (`HOST`) are only looked at here, the files of ours
that they name must be there: `make test-systemd` runs every command of the manual as it stands in a
virtual machine, `make test-deb` those of the README in a clean Debian tree.
A block that sets variables is a script of its own, and runs as a whole.
Blocks marked `toml` are configurations.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ocaserve.protocol.media_types import content_type_for
from ocaserve.serving.closing import describe_close_reasons
from ocaserve.settings import load_settings
from ocaserve.settings.fleet import load_fleet
from tests.support.bills import fill_ledger
from tests.support.daemon import Daemon
from tests.support.fleet import FleetProcess
from tests.support.waiting import eventually

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIG = "/etc/ocaserve/ocaserve.toml"
HOST = {
    "apt-get", "chmod", "chown", "journalctl", "make", "mkdir", "mount", "openssl", "python3",
    "sysctl", "systemctl", "udevadm", "./dev", "git", "cd", "podman", "curl", "cp", "mv",
}  # fmt: skip
LONG = {"serve"}  # runs until it is stopped


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of a page that are marked with a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def is_script(block: str) -> bool:
    return re.search(r"^\w+=", block, re.MULTILINE) is not None


def commands() -> Iterator[tuple[Path, str]]:
    """Each command line, without what follows a `#`."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            if is_script(block):
                continue
            for line in re.sub(r"\\\n\s*", "", block).splitlines():
                for command in line.split("&&"):
                    words = shlex.split(command, comments=True)
                    if words:
                        yield page, shlex.join(words)


def rows(found: Iterable[tuple[Path, str]]) -> list[object]:
    return [pytest.param(text, id=f"{page.stem}-{n}") for n, (page, text) in enumerate(found)]


def is_ours(words: list[str]) -> bool:
    return Path(words[0]).name == "ocaserve"


ALL = list(commands())
OURS = [(page, text) for page, text in ALL if is_ours(shlex.split(text))]
SERVING = [(page, text) for page, text in OURS if LONG & set(shlex.split(text)[1:3])]


def test_commands_are_of_a_known_sort() -> None:
    """One that is neither ours nor the host's is a slip, or wants a line in `HOST`."""
    others = [shlex.split(text)[0] for _, text in ALL if not is_ours(shlex.split(text))]
    assert {word for word in others if not word.startswith(".venv/bin/")} <= HOST
    assert OURS


@pytest.mark.parametrize("text", rows(ALL))
def test_files_and_targets_are_there(text: str) -> None:
    """What a command names of ours exists: a file of deploy/, a target of make, a word of ./dev."""
    words = shlex.split(text)
    for word in words[1:]:
        if word.startswith(("deploy/", "benchmarks/", "tests/", "docs/")):
            assert (ROOT / word).exists(), word
    if words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets)
    if words[0] == "./dev":
        assert f"    {words[1]}" in (ROOT / "dev").read_text()


SCRIPTS = [(page, text) for page in PAGES for text in blocks(page, "sh") if is_script(text)]


@pytest.mark.parametrize("text", rows(SCRIPTS))
def test_script(text: str, tmp_path: Path) -> None:
    """Runs to its end, and prints something."""
    done = subprocess.run(
        ["sh", "-eu"], input=text, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running one; its configuration, whose control address is a unix socket."""
    folder = tmp_path_factory.mktemp("manual")
    (folder / "disk1").mkdir()
    signing = '[signing]\nhosts = ["oca-1.example.net"]\n[signing.keys]\n'
    signing += f'"1" = "{"ab" * 32}"\n'
    config = folder / "ocaserve.toml"
    config.write_text(
        f'[serve]\nlisten = ["unix:{folder}/serve"]\nworkers = 1\naccess_log = "off"\n'
        f'[control]\nlisten = ["unix:{folder}/control"]\n{signing}'
        "[health]\nrise_s = 3600\nfall_s = 0\n"  # it may be as busy as it likes
        f'[appliance]\nstate_directory = "{folder}"\n[fill]\nwindow = ""\n'
        f'[[store]]\npath = "{folder}/disk1"\n'
    )
    (folder / "master").mkdir()
    (folder / "master" / "1.mp4").write_bytes(b"film")
    daemon = Daemon.start(["serve", "-c", str(config)], folder / "log")
    try:
        yield config
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def control_plane(appliance: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where one runs that knows whom the manual names, and has written a decision down."""
    log = appliance.parent / "decisions.jsonl"
    toml = (
        f'decision_log = "{log}"\ndecision_log_share = 1.0\n'
        '[[fleet.site]]\nid = "exchange-a"\n'
        '[[fleet.appliance]]\nid = "oca-1"\nsite = "exchange-a"\n'
        '[[fleet.party]]\nid = "isp-a"\nprefixes = ["198.51.0.0/16"]\n'
    )
    folder = tmp_path_factory.mktemp("fleet")
    fill_ledger(folder / "fleet-ledger")
    keys = appliance.parent / "bills.keys.toml"
    keys.write_text(f'"1" = "{"ab" * 32}"\n')
    keys.chmod(0o600)
    with FleetProcess.running(folder, f'bill_keys_file = "{keys}"\n{toml}') as fleet:
        fleet.steer("11.1.1.1", "film.mp4")
        eventually(lambda: log.exists() and log.read_text(), "the decision is written down")
        yield fleet.operators


@pytest.mark.scenario
@pytest.mark.parametrize("text", rows(row for row in OURS if row not in SERVING))
def test_command(text: str, appliance: Path, control_plane: str) -> None:
    """Runs to its end as the manual has it; asking a running appliance, it gets an answer."""
    text = re.sub(rf" ({Path(CONFIG).parent}|/srv|/tmp)/", f" {appliance.parent}/", text)
    words = shlex.split(text)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "ocaserve", *words],
        env={  # in place of the service's
            **os.environ, "OCASERVE_CONFIG": str(appliance), "OCASERVE_FLEET": control_plane,
        },
        capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    # The host of a test may be out of tune or busy, and no router has announced its clients.
    may_be_told = {0, 1} if words[0] in {"doctor", "explain", "fleet", "status"} else {0}
    assert done.returncode in may_be_told, done.stdout + done.stderr
    assert "ocaserve:" not in done.stderr
    assert done.stdout


@pytest.mark.scenario
@pytest.mark.skipif(
    not shutil.which("unshare") or os.geteuid() != 0, reason="a network of its own takes root"
)
@pytest.mark.parametrize("text", rows(SERVING))
def test_serving(text: str, tmp_path: Path) -> None:
    """It serves on the addresses that it has by default, says so, and ends in order when told."""
    config, fleet = tmp_path / "ocaserve.toml", tmp_path / "fleet.toml"
    config.write_text(f'[[store]]\npath = "{tmp_path}"\n')
    fleet.write_text(f'[fleet]\nstate = "sqlite://{tmp_path}/fleet.db"\n')
    text = text.replace(CONFIG, str(config)).replace("/etc/ocaserve/fleet.toml", str(fleet))
    words = shlex.split(text.replace("/srv/video", str(tmp_path)))
    port = 8090 if words[1] == "fleet" else 8080
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh",
             sys.executable, "-m", "ocaserve", *words[1:]],
            stdout=out, stderr=out, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        )  # fmt: skip
    try:
        eventually(lambda: process.poll() is not None or b"serving" in log.read_bytes(), "starts")
        assert b"on http://127.0.0.1:%d" % port in log.read_bytes(), log.read_text()
    finally:
        process.terminate()
        process.wait(60)
    assert process.returncode == 0, log.read_text()


@pytest.mark.skipif(not shutil.which("bird"), reason="BIRD is not installed")
def test_configuration_of_bird(tmp_path: Path) -> None:
    """The provider's side, read by the router that it is for."""
    (text,) = (t for t in blocks(ROOT / "docs" / "manual.md", "text") if "protocol bgp" in t)
    config = tmp_path / "bird.conf"
    config.write_text(f"router id 192.0.2.1;\nprotocol device {{ }}\n{text}")
    done = subprocess.run(["bird", "-p", "-c", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


CONFIGURATIONS = [(page, text) for page in PAGES for text in blocks(page, "toml")]


@pytest.mark.parametrize("text", rows(CONFIGURATIONS))
def test_configuration(text: str, tmp_path: Path) -> None:
    """Each is one that the program takes; what it leaves out is filled in, its paths are made."""
    text = re.sub(r'"/(srv|var|etc)/', rf'"{tmp_path}/\1/', text)
    values = tomllib.loads(text)
    for store in re.findall(r'^path = "(.*)"', text, re.MULTILINE):
        Path(store).mkdir(parents=True, exist_ok=True)
    (tmp_path / "var/log/ocaserve").mkdir(parents=True, exist_ok=True)
    etc = tmp_path / "etc/ocaserve"
    etc.mkdir(parents=True)
    for name, line in (
        ("keys.toml", f'"1" = "{"ab" * 32}"\n'),
        ("tokens.toml", f'operate = ["{"ab" * 16}"]\n'),
    ):
        (etc / name).write_text(line)
        (etc / name).chmod(0o600)
    make_certificate(etc)
    if "store" not in values and "fleet" not in values:
        text += f'\n[[store]]\npath = "{tmp_path}"\n'
    (tmp_path / "routes.jsonl").touch()
    config = tmp_path / "ocaserve.toml"
    config.write_text(text)
    if "fleet" in values:
        fleet = load_fleet(str(config))
        assert fleet.appliance or fleet.party
    else:
        assert load_settings(str(config)).store


def make_certificate(folder: Path) -> None:
    """What the manuals call a.pem and wildcard.pem, with their keys."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-subj", "/CN=oca-1.example.net", "-days", "2",
         "-keyout", folder / "a.key", "-out", folder / "a.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (folder / "a.key").chmod(0o600)
    for kind in ("pem", "key"):
        shutil.copy(folder / f"a.{kind}", folder / f"wildcard.{kind}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links(page: Path) -> None:
    """Those within the project lead to files that are there."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target


def test_close_reasons_are_as_the_code_says() -> None:
    """`make docs` makes the page anew."""
    assert (ROOT / "docs" / "close-reasons.md").read_text() == describe_close_reasons()


def test_types_are_those_of_the_program() -> None:
    """The page for who makes content lists each ending with its type."""
    page = (ROOT / "docs" / "http.md").read_text()
    listed = {
        f".{ending}": media
        for endings, media in re.findall(
            r"^\| (`\w+`(?:, `\w+`)*) \| `([^`]+)` \|$", page, re.MULTILINE
        )
        for ending in re.findall(r"\w+", endings)
    }
    told = {ending: content_type_for(f"a{ending}".encode()).decode() for ending in listed}
    assert listed == told
    assert len(listed) > 40

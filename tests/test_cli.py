"""The command line: what is said, where, and with which exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import ocaserve
from ocaserve.cli import main
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError
from ocaserve.settings import load_settings


def run(*words: str) -> Result:
    return CliRunner().invoke(main, words)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that is good: a store, two addresses, two workers."""
    (tmp_path / "disk1").mkdir()
    file = tmp_path / "ocaserve.toml"
    file.write_text(
        '[serve]\nlisten = ["127.0.0.1:1025", "[::1]:1026"]\nworkers = 2\naccess_log = "off"\n'
        '[[store]]\npath = "disk1"\n'
    )
    return file


@pytest.mark.parametrize("option", ["-h", "--help"])
@pytest.mark.parametrize("command", [(), ("serve",), ("check",), ("demo",), ("doctor",)])
def test_help(command: tuple[str, ...], option: str) -> None:
    """Each command explains itself."""
    result = run(*command, option)
    assert result.exit_code == 0
    assert "Usage: " in result.stdout
    assert "Options:" in result.stdout


def test_hidden_option() -> None:
    """It is for programs that start us, not for people."""
    assert "--ready-fd" not in run("serve", "--help").stdout


def test_version() -> None:
    """The package's own."""
    assert run("--version").stdout == f"ocaserve, version {ocaserve.__version__}\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(["serve"], "name a DIR to serve, or a configuration file", id="no_directory"),
        pytest.param(["serve", "/", "--workers", "0"], "'--workers'", id="no_workers"),
        pytest.param(["serve", "/", "--workers", "x"], "'--workers'", id="workers_no_number"),
        pytest.param(["serve", "/", "--ready-fd", "1"], "'--ready-fd'", id="descriptor_of_output"),
        pytest.param(["serve", "/", "--port", "80"], "No such option", id="unknown_option"),
        pytest.param(["check", "-c", "/"], "is a directory", id="directory_for_a_file"),
        pytest.param(["follow"], "Missing argument 'KEY|URL [URL]...'", id="follow_nothing"),
        pytest.param(["follow", "a", "b"], "name one KEY, or the URLs of one", id="two_keys"),
        pytest.param(["follow", "a", "http://b/"], "or only URLs", id="key_and_url"),
        pytest.param(["follow", "http://u@b/"], "must be an http or https URL", id="url_with_user"),
        pytest.param(["follow", "a", "--fleet", "b"], "--fleet 'b': must be", id="fleet_no_url"),
        pytest.param(["follow", "a", "--as", "b"], "--as 'b': must be an IPv4", id="as_no_address"),
        pytest.param(["follow", "a", "--sha256", "b"], "64 hexadecimal digits", id="no_digest"),
        pytest.param(["follow", "a", "--stall", "1h"], "must be 1s to 5m", id="stall_too_long"),
        pytest.param(["follow", "a", "--token-file", "/b"], "is for --as", id="token_for_nothing"),
        pytest.param(
            ["follow", "a", "--as", "::1", "--token-file", "/none"], "/none", id="no_token_file"
        ),
        pytest.param(["nonsense"], "No such command 'nonsense'", id="unknown_command"),
    ],
)
def test_wrong_usage(words: list[str], complaint: str) -> None:
    """Status 2, and what was meant, on standard error."""
    result = run(*words)
    assert result.exit_code == 2
    assert complaint in result.stderr
    assert result.stdout == ""


def test_check(config: Path) -> None:
    """A good file: what would be done with it."""
    result = run("check", "-c", str(config))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{config}: good",
        "  would listen on   127.0.0.1:1025, [::1]:1026",
        "  for operators on  127.0.0.1:8081",
        "  with              2 workers",
        f"  would serve       {config.parent / 'disk1'}",
        "  access log        off",
    ]


def test_check_of_a_bad_file(config: Path) -> None:
    """Status 1, and a line for each fault: the file, the key, the value, what is allowed."""
    config.write_text(config.read_text().replace("2\n", "0\nidle = 1\n"))
    result = run("check", "-c", str(config))
    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"ocaserve: {config}:3: serve.workers = 0: must be a whole number")
    assert lines[1].startswith(f"ocaserve: {config}:4: serve.idle: unknown key")


def test_check_for_programs(config: Path) -> None:
    """The same as one document, good or bad."""
    result = run("check", "-c", str(config), "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert (found["config"], found["good"], found["faults"]) == (str(config), True, [])
    assert found["would"]["listen"] == ["127.0.0.1:1025", "[::1]:1026"]
    assert found["would"]["stores"] == [str(config.parent / "disk1")]
    assert (found["would"]["workers"], found["would"]["signing"]) == (2, None)
    config.write_text(config.read_text().replace("2\n", "0\n"))
    result = run("check", "-c", str(config), "--json")
    assert (result.exit_code, result.stderr) == (1, "")
    found = json.loads(result.stdout)
    assert found["good"] is False
    assert "serve.workers = 0: must be" in found["faults"][0]


def test_check_of_what_keeps_nothing_from_starting(config: Path) -> None:
    """It is a warning: `serve` goes on without. With --strict it counts."""
    config.write_text(config.read_text() + '[bgp]\nrpki_vrps = "none.json"\n')
    result = run("check", "-c", str(config))
    assert result.exit_code == 0
    assert result.stderr.startswith(
        f"ocaserve: {config}:8: warning: bgp.rpki_vrps = '{config.parent}/none.json': must be a"
    )
    assert result.stdout.startswith(f"{config}: good, but for 1 warning\n")
    assert run("check", "-c", str(config), "--strict").exit_code == 1
    document = json.loads(run("check", "-c", str(config), "--json").stdout)
    assert (document["good"], document["faults"], len(document["warnings"])) == (True, [], 1)
    (finding,) = document["findings"]
    assert (finding["line"], finding["key"]) == (8, "bgp.rpki_vrps")
    assert (finding["severity"], finding["allowed"]) == ("degraded", "a file that can be read")
    assert load_settings(str(config)).bgp.rpki_vrps


@pytest.mark.parametrize("words", [["inventory", "--json"], ["check", "-c"], ["--version"]])
def test_output_that_does_not_arrive(config: Path, words: list[str]) -> None:
    """On a full disk: one line, status 1, no traceback."""
    words = [*words, str(config)] if words[-1] == "-c" else words
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ocaserve", *words],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "ocaserve: cannot write: No space left on device\n"


def test_check_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's word for it."""
    file = tmp_path / "none.toml"
    result = run("check", "-c", str(file))
    assert result.exit_code == 1
    assert result.stderr == f"ocaserve: {file}: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        pytest.param(["/no/such/disk"], "store[0].path = '/no/such/disk'", id="store"),
        pytest.param(["/", "--listen", "80"], "serve.listen[0] = '80'", id="address"),
        pytest.param(["-c", "/no/such.toml"], "/no/such.toml: No such file", id="file"),
        pytest.param(
            ["/", "--listen", "192.0.2.1:80"],
            "cannot listen on 192.0.2.1:80: Cannot assign requested address",
            id="address_of_another_host",
        ),
    ],
)
def test_serve_that_cannot_begin(words: list[str], complaint: str) -> None:
    """The program itself, as a shell sees it: one line, status 1, no traceback."""
    result = subprocess.run(
        [sys.executable, "-m", "ocaserve", "serve", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"ocaserve: {complaint}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ["status"], ["drain"], ["enable"], ["reload"], ["ledger"], ["routes"], ["report"],
        ["ledger", "records"], ["ledger", "verify"], ["ledger", "close"],
        ["explain", "192.0.2.1"], ["maintenance", "list"], ["maintenance", "cancel", "x"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_nobody_listens(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 1, and where the appliance was looked for."""
    monkeypatch.setenv("OCASERVE_CONTROL", "127.0.0.1:1")
    result = run(*words)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("ocaserve: 127.0.0.1:1: nothing listens there")


@pytest.mark.parametrize("variable", ["OCASERVE_CONTROL", "OCASERVE_CONFIG"])
def test_a_variable_that_is_wrong(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what is meant."""
    monkeypatch.setenv(variable, "/nowhere")
    result = run("status")
    assert result.exit_code == (2 if variable == "OCASERVE_CONTROL" else 1)
    assert "/nowhere" in result.stderr


def test_check_for_programs_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The document has the same members."""
    file = str(tmp_path / "none.toml")
    result = run("check", "-c", file, "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["faults"] == [f"{file}: No such file or directory"]
    assert (found["good"], found["warnings"], found["findings"]) == (False, [], [])


def test_what_others_wrote_in_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A terminal obeys none of it, and each fault keeps its line."""
    with pytest.raises(SystemExit) as ended:
        fail(OcaserveError("a \x1b[2Jb\nc\x9b31m\r"))
    assert ended.value.code == 1
    assert capsys.readouterr().err == "ocaserve: a \\x1b[2Jb\nocaserve: c\\x9b31m\n"

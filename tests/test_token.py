"""`ocaserve token`: where a token is kept, for whom, and what it says."""

from __future__ import annotations

import json
import os
import pwd
import stat
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ocaserve.cli import main
from ocaserve.settings import load_control
from ocaserve.settings.control import is_token, read_tokens


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["token", *words])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "ocaserve.toml"
    file.write_text('[control]\ntokens_file = "held.toml"\n')
    return file


def test_a_token_is_made_and_kept(config: Path) -> None:
    """It is printed once, and is what the appliance will ask for."""
    made = {}
    for role, words in {"read": ["--role", "read"], "operate": ["operate"]}.items():
        done = run(*words, "-c", str(config))
        assert done.exit_code == 0
        made[role] = done.stdout.strip()
        assert is_token(made[role])
        assert made[role] not in done.stderr
    tokens = read_tokens(load_control(str(config)))
    assert (tokens.read, tokens.operate) == ([made["read"]], [made["operate"]])


def test_a_role_that_is_named_twice(config: Path) -> None:
    assert run("read", "--role", "operate", "-c", str(config)).exit_code == 2
    assert not config.with_name("held.toml").exists()


def test_those_of_before_stay(config: Path) -> None:
    """With what was noted about them at the top."""
    held = config.with_name("held.toml")
    held.write_text('# for the fleet\nread = ["abcdefghijklmnopqrst"]\n')
    held.chmod(0o600)
    before = held.stat()
    token = run("read", "-c", str(config)).stdout.strip()
    assert tomllib.loads(held.read_text())["read"] == ["abcdefghijklmnopqrst", token]
    assert held.read_text().startswith("# for the fleet\n")
    assert held.stat().st_ino != before.st_ino  # replaced in one step


def test_only_its_owner_may_read_it(config: Path) -> None:
    mask = os.umask(0)
    try:
        run("-c", str(config))
    finally:
        os.umask(mask)
    held = config.with_name("held.toml").stat()
    assert stat.S_IMODE(held.st_mode) == 0o600
    assert sorted(file.name for file in config.parent.iterdir()) == ["held.toml", "ocaserve.toml"]


@pytest.mark.skipif(bool(os.geteuid()), reason="only root can give files away")
def test_it_belongs_to_whom_the_file_belonged(config: Path) -> None:
    held = config.with_name("held.toml")
    held.touch(0o600)
    account = pwd.getpwnam("nobody")
    os.chown(held, account.pw_uid, account.pw_gid)
    assert run("-c", str(config)).exit_code == 0
    assert held.stat().st_uid == account.pw_uid


def test_a_configuration_that_names_no_file(tmp_path: Path) -> None:
    """It is made beside it, and the line that is missing is told."""
    config = tmp_path / "c.toml"
    config.write_text("")
    done = run("-c", str(config), "--json")
    said = json.loads(done.stdout)
    assert said["role"] == "operate"
    assert said["file"] == str(tmp_path / "tokens.toml")
    assert f'below [control]: tokens_file = "{tmp_path}/tokens.toml"' in said["next"][0]
    assert said["token"] in (tmp_path / "tokens.toml").read_text()


@pytest.mark.parametrize("content", ["read = 7", "read = ['deadbeef']", "deadbeef", "other = 1"])
def test_a_file_that_is_none_of_tokens(config: Path, content: str) -> None:
    """It is left alone, and what it holds is not shown."""
    held = config.with_name("held.toml")
    held.write_text(content)
    done = run("-c", str(config))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert str(held) in done.stderr
    assert "deadbeef" not in done.stderr
    assert held.read_text() == content


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[control]\ntokens_file = "none/tokens.toml"\n')
    done = run("-c", str(config))
    assert done.exit_code == 1
    assert done.stderr == f"ocaserve: {tmp_path}/none/tokens.toml: No such file or directory\n"

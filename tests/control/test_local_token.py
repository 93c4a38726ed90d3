"""The token that commands of the same user find."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocaserve.addresses import Address, parse_address
from ocaserve.control.local_token import choose_token, find_token, publish_token, withdraw_token

ADDRESS = parse_address("127.0.0.1:8081")


def begin(environment: dict[str, str], *addresses: Address) -> str:
    """What a control process does when it starts."""
    token = choose_token(environment, list(addresses))
    publish_token(environment, list(addresses), token)
    return token


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """In which no other appliance of this machine has left a token for the same address."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    folders = "ocaserve.control.local_token._SERVICE_FOLDERS"
    monkeypatch.setattr(folders, (tmp_path / "service",))
    return {"RUNTIME_DIRECTORY": str(tmp_path)}


def test_found_and_withdrawn(environment: dict[str, str]) -> None:
    """For as long as the appliance runs."""
    token = begin(environment, ADDRESS)
    assert find_token(environment, ADDRESS) == token
    withdraw_token(environment, [ADDRESS], token)
    assert find_token(environment, ADDRESS) == ""
    assert begin(environment, ADDRESS) != token


def test_successor_has_the_same(environment: dict[str, str]) -> None:
    """A command that waits for the end of a reload goes on with it; a new address has it too."""
    token = begin(environment, ADDRESS)
    other = parse_address("unix:/run/ocaserve/control")
    assert begin(environment, other, ADDRESS) == token
    assert find_token(environment, other) == token


@pytest.mark.parametrize("is_link", [False, True], ids=["others_can_read", "link"])
def test_what_another_has_left(environment: dict[str, str], tmp_path: Path, is_link: bool) -> None:
    """Is not taken for a token."""
    (file := tmp_path / f"token-{ADDRESS}").write_text("known to others")
    file.chmod(0o600 if is_link else 0o644)
    if is_link:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    assert begin(environment, ADDRESS) != "known to others"

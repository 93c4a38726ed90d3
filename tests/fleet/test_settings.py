"""The control plane's file: what it may say, and what is said of what is wrong in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ocaserve.errors import SettingsError
from ocaserve.settings.fleet import load_fleet, read_fleet_tokens
from ocaserve.settings.fleet_members import FleetAppliance, read_appliance_key, read_appliance_token
from ocaserve.settings.manual import FLEET_SECTIONS
from tests.checking.test_every_setting import VALUES

TOKEN = "a-token-of-thirty-two-characters"


def load(folder: Path, text: str) -> object:
    file = folder / "fleet.toml"
    file.write_text(text)
    return load_fleet(str(file))


def faults(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(folder, text)
    return str(caught.value)


def test_defaults() -> None:
    fleet = load_fleet(None)
    assert (fleet.listen, fleet.clients) == (["127.0.0.1:8090"], ["127.0.0.1:8088"])
    assert (fleet.report_ttl_s, fleet.content.everywhere) == (90.0, True)


CONTRACT = """[fleet]
listen = ["127.0.0.1:8090"]
clients = ["127.0.0.1:8088"]
state = "sqlite:///var/lib/ocaserve/fleet.db"
report_ttl_s = 90
tokens = { read = ["a-token-of-thirty-two-characters"], operate = [], steer = [] }
[[fleet.site]]
id = "exchange-a"
kind = "embedded"
location = [50.11, 8]
copies = 1.2
[[fleet.appliance]]
id = "oca-1"
site = "exchange-a"
urls = ["https://oca-1.example.net"]
token_file = "oca-1.token"
signing_keys_file = "/etc/ocaserve/oca-1.keys.toml"
[fleet.content]
everywhere = true
"""


def test_a_whole_file(tmp_path: Path) -> None:
    """Paths are relative to its folder."""
    file = tmp_path / "fleet.toml"
    file.write_text(CONTRACT)
    fleet = load_fleet(str(file))
    assert fleet.site[0].location == [50.11, 8.0]
    assert fleet.appliance[0].token_file == str(tmp_path / "oca-1.token")
    assert TOKEN not in repr(faults(tmp_path, CONTRACT + "x = 1\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('listen = ["0.0.0.0:8090"]', "fleet.listen[0] = '0.0.0.0:8090'"),
        ('clients = ["127.0.0.1:8090"]', "fleet.clients[0]"),
        ("listen = []", "fleet.listen"),
        ('state = "redis://127.0.0.1:port/0"', "fleet.state"),
        ('state = "sqlite://host/x"', "fleet.state"),
        ('key = "a.key"', "fleet.key"),
        ('[[fleet.site]]\nid = "a"\n[[fleet.site]]\nid = "a"', "'a' stands there 2 times"),
        ('[[fleet.site]]\nid = "a"\nlocation = [91, 0]', "fleet.site[0].location = [91.0, 0.0]"),
        ('[[fleet.site]]\nid = "a"\nlocation = [1]', "fleet.site[0].location"),
        ('[[fleet.site]]\nid = "a"\nlocation = [nan, 0]', "fleet.site[0].location"),
        ('[[fleet.site]]\nid = "a"\nkind = "cloud"', '"embedded" or "pni" or "exchange"'),
        ('[[fleet.appliance]]\nid = "a"\nurls = ["oca-1"]', "urls[0] = 'oca-1'"),
        ('[[fleet.appliance]]\nid = "a"\nurls = ["http://a/b"]', "host and port alone"),
        ('[[fleet.appliance]]\nid = "a"\nurls = ["http://u:p@a"]', "host and port alone"),
        ("[[fleet.appliance]]\nsite = 'a'", "fleet.appliance[0].id: missing"),
        ("[fleet.content]\neverywhere = false", "fleet.content.everywhere = false"),
        ("report_ttl = 9", "did you mean 'report_ttl_s'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    """With the file and the line."""
    told = faults(tmp_path, f"[fleet]\n{text}\n")
    assert says in told
    assert told.startswith(f"{tmp_path}/fleet.toml:")


@pytest.mark.parametrize(
    ("title", "name"),
    [
        (title, info.name)
        for title, shape in FLEET_SECTIONS
        for info in msgspec.structs.fields(shape)
    ],
)
def test_any_value(tmp_path: Path, title: str, name: str) -> None:
    """A verdict, in lines that name the key."""
    for value in VALUES:
        try:
            load(tmp_path, f"{title}\n{name} = {value}\n")
        except SettingsError as error:
            for fault in error.faults:
                assert "fleet" in fault.removeprefix(f"{tmp_path}/fleet.toml")
                assert len(fault) < 1_000


def test_secrets_in_files(tmp_path: Path) -> None:
    """Only their owner may read them, and no error shows what they hold."""
    token, keys, tokens = (tmp_path / name for name in ("token", "keys.toml", "tokens.toml"))
    token.write_text(f"{TOKEN}\nsecond line\n")
    keys.write_text(f'"9" = "{"ab" * 16}"\n"10" = "{"cd" * 16}"\n')
    tokens.write_text(f'steer = ["{TOKEN}"]\n')
    appliance = FleetAppliance(id="a", token_file=str(token), signing_keys_file=str(keys))
    fleet = msgspec.structs.replace(load_fleet(None), tokens_file=str(tokens))
    for file in (token, keys, tokens):
        file.chmod(0o644)
    for read in (
        lambda: read_appliance_token(appliance),
        lambda: read_appliance_key(appliance),
        lambda: read_fleet_tokens(fleet),
    ):
        with pytest.raises(SettingsError, match="owner only") as caught:
            read()
        assert TOKEN not in str(caught.value)
    for file in (token, keys, tokens):
        file.chmod(0o600)
    assert read_appliance_token(appliance) == TOKEN
    assert read_appliance_key(appliance) == ("10", bytes.fromhex("cd" * 16))
    assert read_fleet_tokens(fleet).steer == [TOKEN]

"""Looking as the user that the appliance runs as, and through the walls of its unit."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ocaserve.checking import account, examine
from ocaserve.checking.account import find_account
from ocaserve.checking.unit import find_unit, read_unit, sandbox_look
from ocaserve.cli import main
from ocaserve.errors import OcaserveError
from ocaserve.settings import load_settings
from tests.support.certificates import make_pair

as_root = pytest.mark.skipif(bool(os.geteuid()), reason="only root can look as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into, unlike those that tests have otherwise."""
    with tempfile.TemporaryDirectory(prefix="ocaserve-test-") as made:
        place = Path(made)
        place.chmod(0o755)
        (place / "disk1").mkdir()
        (place / "disk2").mkdir()
        yield place


def write(folder: Path, toml: str = "") -> Path:
    file = folder / "ocaserve.toml"
    file.write_text(
        f'[serve]\nlisten = ["127.0.0.1:0"]\naccess_log = "off"\n{toml}\n'
        '[[store]]\npath = "disk1"\n[[store]]\npath = "disk2"\n'
    )
    return file


def check(file: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["check", "-c", str(file), *words])


@as_root
def test_what_only_root_can_read(folder: Path) -> None:
    """A key, a store, a log: root sees nothing wrong, the user of the service does."""
    pair = make_pair(folder, "a", "a.example")
    pair.cert.chmod(0o644)
    pair.key.chmod(0o600)
    (folder / "disk2").chmod(0o700)
    file = write(
        folder, f'[tls]\nlisten = ["127.0.0.1:0"]\ncertificates = [{pair.toml}]\n'
    )  # fmt: skip
    assert check(file, "--strict").exit_code == 0
    done = check(file, "--user", "nobody", "--strict")
    assert done.exit_code == 1
    assert f"tls.certificates[0].key = '{pair.key}': Permission denied" in done.stderr
    assert f"store[1].path = '{folder}/disk2': Permission denied" in done.stderr
    assert "looked at as the user nobody" in done.stderr
    assert json.loads(check(file, "--user", "nobody", "--json").stdout)["user"] == "nobody"


@as_root
def test_stores_that_only_root_can_read(folder: Path) -> None:
    """Without any there is nothing to serve."""
    for name in ("disk1", "disk2"):
        (folder / name).chmod(0o700)
    file = write(folder)
    assert check(file).exit_code == 0
    done = check(file, "--user", "nobody")
    assert (done.exit_code, done.stdout) == (1, "")


@as_root
def test_a_configuration_that_only_root_can_read(folder: Path) -> None:
    file = write(folder)
    file.chmod(0o600)
    done = check(file, "--user", "nobody")
    assert done.exit_code == 1
    assert done.stderr == f"ocaserve: {file}: Permission denied\n"


@as_root
def test_keys_that_only_root_can_read(folder: Path) -> None:
    """Nothing could be signed for, so it is refused."""
    keys = folder / "keys.toml"
    keys.write_text(f'1 = "{"ab" * 32}"\n')
    keys.chmod(0o600)
    file = write(folder, '[signing]\nkeys_file = "keys.toml"')
    assert check(file).exit_code == 0
    done = check(file, "--user", "nobody")
    assert done.exit_code == 1
    assert f"signing.keys_file = '{keys}': Permission denied" in done.stderr


def test_a_user_that_is_not_there(folder: Path) -> None:
    done = check(write(folder), "--user", "nosuchuser")
    assert done.exit_code == 1
    assert "--user 'nosuchuser': must be the name of an account" in done.stderr


# -- the unit ------------------------------------------------------------------------------------

UNIT = """\
[Service]
ExecStart=/usr/bin/ocaserve serve -c CONFIG
User=nobody
AmbientCapabilities=CAP_NET_BIND_SERVICE
ProtectSystem=strict
ProtectHome=yes
LogsDirectory=ocaserve
ReadWritePaths=/srv/notes
"""


@pytest.fixture
def units(folder: Path) -> tuple[str, ...]:
    """Two folders of units; the later one holds a unit for the configuration."""
    own, package = folder / "own", folder / "package"
    own.mkdir()
    package.mkdir()
    text = UNIT.replace("CONFIG", str(folder / "ocaserve.toml"))
    (package / "ocaserve.service").write_text(text)
    return str(own), str(package)


def test_unit(folder: Path, units: tuple[str, ...]) -> None:
    """It counts where it starts the appliance with this configuration."""
    file = write(folder)
    unit = find_unit(str(file), units)
    assert unit is not None
    assert (unit.user, unit.grants_low_ports, unit.hides_homes) == ("nobody", True, True)
    assert find_unit(str(folder / "other.toml"), units) is None
    assert find_unit(str(file), (str(folder),)) is None


def test_drop_ins(folder: Path, units: tuple[str, ...]) -> None:
    """Lists grow, an empty value forgets, the later word counts."""
    more = Path(units[0], "ocaserve.service.d")
    more.mkdir()
    (more / "10.conf").write_text("[Service]\nUser=one\nReadWritePaths=/srv/more\n")
    (more / "20.conf").write_text("[Service]\n# User=three\nUser=two\nAmbientCapabilities=\n")
    unit = find_unit(str(write(folder)), units)
    assert unit is not None
    assert (unit.user, unit.grants_low_ports) == ("two", False)
    assert {"/srv/notes", "/srv/more", "/var/log/ocaserve"} <= set(unit.writable)


def test_what_the_unit_hides(folder: Path, units: tuple[str, ...]) -> None:
    """Paths that are there for a shell, and not for the service."""
    file = folder / "ocaserve.toml"
    file.write_text(
        '[serve]\naccess_log = "/var/log/other.log"\nlisten = ["unix:/srv/x/socket"]\n'
        '[ledger]\ndirectory = "/srv/notes/ledger"\n[[store]]\npath = "/home/video"\n'
        '[[store]]\npath = "/srv/video"\n'
    )
    found = examine(base=str(file), more=[sandbox_look(find_unit(str(file), units))]).findings
    hidden = [each.key for each in found if "the unit" in each.why]
    assert hidden == ["serve.access_log", "serve.listen[0]", "store[0].path"]


def test_store_of_the_unit_that_is_shipped(folder: Path, units: tuple[str, ...]) -> None:
    """Read-only until a drop-in takes that back: to name the path once more is not enough."""
    shipped = Path(__file__).parents[2] / "deploy/systemd/ocaserve.service"
    own = Path(units[0], "ocaserve.service")
    own.write_text(shipped.read_text())
    file = folder / "ocaserve.toml"
    file.write_text('[fill]\n[[store]]\npath = "/srv/oca/disk1"\n')
    drop_in = Path(units[0], "ocaserve.service.d", "fill.conf")
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nReadWritePaths=/srv/oca\n")
    look = sandbox_look(read_unit(units))
    [finding] = [each for each in look(load_settings(str(file))) if each.key == "store[0].path"]
    assert finding.why == "the unit lets nothing be written there (ReadOnlyPaths=/srv/oca)"
    drop_in.write_text("[Service]\nReadOnlyPaths=\nReadWritePaths=/srv/oca\n")
    look = sandbox_look(read_unit(units))
    assert "store[0].path" not in {each.key for each in look(load_settings(str(file)))}


@as_root
def test_the_user_of_the_unit(
    folder: Path, units: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root looks as that user without being told; --user counts more."""
    monkeypatch.setattr(account, "find_unit", lambda config: find_unit(config, units))
    file = str(write(folder))
    found = find_account(file, None)
    assert found is not None
    assert found.name == "nobody"
    assert found.unit is not None
    assert find_account(file, "root") is None
    daemon = find_account(file, "daemon")
    assert daemon is not None
    assert daemon.unit is None
    with pytest.raises(OcaserveError, match="must be the name of an account"):
        find_account(file, "nosuchuser")

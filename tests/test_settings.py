"""What a configuration file may say, and what is said about one that it may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocaserve.errors import SettingsError
from ocaserve.settings import describe_settings, load_settings, settings_from_directories
from tests.support.checked import faults_of

MANUAL = Path(__file__).parent.parent / "docs" / "settings.md"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A folder for a store, beside where the configuration lies."""
    folder = tmp_path / "disk1"
    folder.mkdir()
    return folder


def write(disk: Path, toml: str, store: str = "disk1") -> str:
    """Write a configuration with one store; returns its name."""
    file = disk.parent / "ocaserve.toml"
    file.write_text(f'{toml}\n[[store]]\npath = "{store}"\n')
    return str(file)


# -- what is good --------------------------------------------------------------------------------


def test_a_directory_is_enough(disk: Path) -> None:
    """Everything else has a default."""
    settings = settings_from_directories([str(disk)])
    assert settings.serve.listen == ["127.0.0.1:8080"]
    assert [store.path for store in settings.store] == [str(disk)]
    assert settings.worker_count == len(os.sched_getaffinity(0))
    assert settings.appliance.id
    assert settings.serve.limits.head_bytes == 16_384


def test_file(disk: Path) -> None:
    """Every section, with a value of every sort."""
    settings = load_settings(
        write(
            disk,
            '[appliance]\nid = "oca-1"\nsite = "lab"\n'
            '[serve]\nlisten = ["[::]:80", "unix:/run/x.sock"]\nworkers = 3\nloop = "asyncio"\n'
            'drain_s = 5\naccess_log = "off"\n'
            "[serve.limits]\nidle_s = 7.5\nconnections = 12\n",
        )
    )
    assert (settings.appliance.id, settings.appliance.site) == ("oca-1", "lab")
    assert settings.serve.listen == ["[::]:80", "unix:/run/x.sock"]
    assert settings.worker_count == 3
    assert (settings.serve.loop, settings.serve.drain_s) == ("asyncio", 5.0)
    assert (settings.serve.limits.idle_s, settings.serve.limits.connections) == (7.5, 12)


def test_paths_of_a_file_are_relative_to_it(disk: Path) -> None:
    """So a configuration may be checked from any folder."""
    settings = load_settings(write(disk, '[serve]\naccess_log = "access.log"'))
    assert settings.store[0].path == str(disk)
    assert settings.serve.access_log == str(disk.parent / "access.log")


def test_command_line_goes_over_the_file(disk: Path) -> None:
    """What was typed counts; what was not typed stays as the file says."""
    other = disk.parent / "disk2"
    other.mkdir()
    file = write(disk, '[serve]\nworkers = 3\nlisten = ["127.0.0.1:1"]\ndrain_s = 5')
    settings = settings_from_directories([str(other)], ["127.0.0.1:2"], 4, file)
    assert [store.path for store in settings.store] == [str(other)]
    assert settings.serve.listen == ["127.0.0.1:2"]
    assert (settings.worker_count, settings.serve.drain_s) == (4, 5.0)


def test_command_line_can_name_the_store_that_the_file_leaves_out(disk: Path) -> None:
    """The two are judged together."""
    file = disk.parent / "ocaserve.toml"
    file.write_text("[serve]\ndrain_s = 5\n")
    settings = settings_from_directories([str(disk)], base=str(file))
    assert [store.path for store in settings.store] == [str(disk)]


def test_stores_side_by_side(disk: Path) -> None:
    """One for each disk, in the order of the file."""
    other = disk.parent / "disk2"
    other.mkdir()
    settings = load_settings(write(disk, f'[[store]]\npath = "{other}"'))
    assert [store.path for store in settings.store] == [str(other), str(disk)]


def test_what_is_not_said_stays_as_the_file_says(disk: Path) -> None:
    """A command line that names only its file changes nothing in it."""
    file = write(disk, '[serve]\nworkers = 3\nlisten = ["127.0.0.1:1"]')
    assert settings_from_directories([], base=file) == load_settings(file)


def test_one_worker_for_each_core(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot say which cores this process may use, all count (FreeBSD)."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert settings_from_directories([str(disk)]).worker_count == 6


def test_directories_are_relative_to_the_shell(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever folder the configuration lies in."""
    monkeypatch.chdir(disk.parent)
    assert settings_from_directories(["disk1"]).store[0].path == str(disk)


# -- what is not ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        pytest.param(
            "[serve]\nworker = 2",
            "serve.worker: unknown key; did you mean 'workers'?",
            id="misspelt",
        ),
        pytest.param(
            "[serve.limits]\nhead_byte = 2",
            "serve.limits.head_byte: unknown key; did you mean 'head_bytes'?",
            id="misspelt_below",
        ),
        pytest.param(
            "[nonsense]\nktls = true",
            "nonsense: unknown key; known here: appliance, ",
            id="unknown_section",
        ),
        pytest.param(
            "[appliance]\nzzz = 1",
            "appliance.zzz: unknown key; known here: id, location, site, ",
            id="unlike_any",
        ),
        pytest.param('file = "x"', "file: unknown key", id="not_a_setting"),
        pytest.param(
            "[serve]\nworkers = 0",
            'serve.workers = 0: must be a whole number from 1 to 1,024 processes or "auto"',
            id="too_small",
        ),
        pytest.param("[serve]\nworkers = true", "serve.workers = true: must be", id="truth_value"),
        pytest.param('[serve]\nworkers = "2"', "serve.workers = '2': must be", id="quoted_number"),
        pytest.param(
            "[serve.limits]\nhead_bytes = 1023",
            "serve.limits.head_bytes = 1023: must be a whole number from 1,024 to 1,048,576 bytes",
            id="under_the_bound",
        ),
        pytest.param(
            "[serve.limits]\nidle_s = 0",
            "serve.limits.idle_s = 0: must be a number above 0 to 86,400 seconds",
            id="at_an_open_bound",
        ),
        pytest.param(
            "[serve.limits]\nidle_s = nan", "serve.limits.idle_s = nan: must be", id="not_a_number"
        ),
        pytest.param(
            "[serve.limits]\nidle_s = inf", "serve.limits.idle_s = inf: must be", id="endless"
        ),
        pytest.param(
            '[serve]\nloop = "trio"',
            'serve.loop = \'trio\': must be "auto" or "uvloop" or "asyncio"',
            id="not_one_of_them",
        ),
        pytest.param(
            '[serve]\ncache_control = "no-store\\n"',
            "serve.cache_control = 'no-store\\n': must be printable ASCII",
            id="line_end_in_a_field",
        ),
        pytest.param(
            '[serve]\ncors_origin = "a b"', "serve.cors_origin = 'a b': must be", id="not_an_origin"
        ),
        pytest.param("serve = 3", "serve = 3: must be a table", id="not_a_table"),
        pytest.param(
            '[serve]\nlisten = "127.0.0.1:80"',
            "serve.listen = '127.0.0.1:80': must be a list of strings",
            id="not_a_list",
        ),
        pytest.param("[serve]\nlisten = []", "serve.listen = []: must be a list", id="empty_list"),
        pytest.param(
            '[serve]\nlisten = ["localhost:80"]',
            "serve.listen[0] = 'localhost:80': must be \"IPv4:port\"",
            id="not_an_address",
        ),
        pytest.param(
            '[serve]\nlisten = ["127.0.0.1:80", "127.0.0.1:80"]',
            "serve.listen[1] = '127.0.0.1:80': overlaps serve.listen[0] = '127.0.0.1:80'",
            id="address_twice",
        ),
        pytest.param('[serve]\naccess_log = "."', "serve.access_log = ", id="log_that_is_a_folder"),
        pytest.param(
            "[health]\ncpu_error = 0.5",
            "health.cpu_error = 0.5: must be at least cpu_warning",
            id="error_before_warning",
        ),
        pytest.param(
            "[health]\ncertificate_error_days = 30",
            "health.certificate_error_days = 30.0: must be at most certificate_warning_days",
            id="error_before_warning_below",
        ),
        pytest.param(
            '[fill]\non_miss = "redirect"',
            "fill.on_miss = 'redirect': must be beside fill.miss_url",
            id="miss_to_nowhere",
        ),
        pytest.param(
            '[fill]\nmiss_url = "ftp://h/{key}"',
            "fill.miss_url = 'ftp://h/{key}': must be an http or https URL",
            id="miss_to_no_url",
        ),
        pytest.param(
            '[fill]\nmiss_url = "http://h/"',
            "fill.miss_url = 'http://h/': must have {key} or {path} once",
            id="miss_without_key",
        ),
        pytest.param(
            "[fill]\nmiss_signed = true",
            "fill.miss_signed = true: must be beside signing.required = true",
            id="miss_signed_by_nobody",
        ),
        pytest.param(
            '[serve]\naccess_log = "none/access.log"', "serve.access_log = ", id="log_in_no_folder"
        ),
        pytest.param(
            f'[appliance]\nid = "{"x" * 256}"', "appliance.id = 'xxx", id="long_values_are_cut"
        ),
    ],
)
def test_fault(disk: Path, toml: str, fault: str) -> None:
    """One line names the key, the value and what is allowed."""
    (found,) = faults_of(write(disk, toml))
    assert found.startswith(fault)
    assert len(found) < 200 + len(str(disk))


@pytest.mark.parametrize(
    ("value", "is_allowed"),
    [
        pytest.param("1024", True, id="lowest"),
        pytest.param("1048576", True, id="highest"),
        pytest.param("1048577", False, id="over"),
    ],
)
def test_bounds_belong_to_what_is_allowed(disk: Path, value: str, is_allowed: bool) -> None:
    """A limit is taken at its bounds and refused beside them."""
    file = write(disk, f"[serve.limits]\nhead_bytes = {value}")
    if is_allowed:
        assert load_settings(file).serve.limits.head_bytes == int(value)
    else:
        assert faults_of(file)


def test_all_faults_are_told_at_once(disk: Path) -> None:
    """Three mistakes take one run to see, not three."""
    file = write(disk, '[serve]\nworkers = 0\nlop = "auto"\n[serve.limits]\nidle_s = -1')
    assert len(faults_of(file)) == 3


@pytest.mark.parametrize(
    ("stores", "fault"),
    [
        pytest.param([], "store: missing; must be a list of tables", id="none"),
        pytest.param(["disk9"], "No such file or directory; must be", id="absent"),
        pytest.param(["ocaserve.toml"], "Not a directory; must be", id="file"),
        pytest.param(["disk1", "disk1"], "overlaps store[0].path", id="twice"),
        pytest.param(["disk1", "link"], "overlaps store[0].path", id="twice_by_a_link"),
        pytest.param(["disk1", "disk1/below"], "overlaps store[0].path", id="within"),
        pytest.param(["disk1/below", "disk1"], "overlaps store[0].path", id="around"),
    ],
)
def test_store_fault(disk: Path, stores: list[str], fault: str) -> None:
    """Stores are directories that can be read, and lie apart."""
    (disk / "below").mkdir()
    (disk.parent / "link").symlink_to(disk)
    file = disk.parent / "ocaserve.toml"
    file.write_text("".join(f'[[store]]\npath = "{path}"\n' for path in stores))
    (found,) = faults_of(str(file))
    assert found.startswith("store")
    assert fault in found


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"[serve", "not TOML: ", id="syntax"),
        pytest.param(b"a = 1\na = 2", "a: not TOML: stands twice, in line 1 too", id="key_twice"),
        pytest.param(b"# \xff\n", "not TOML: byte 0xff is not UTF-8; must be UTF-8", id="not_utf8"),
    ],
)
def test_file_that_is_not_toml(tmp_path: Path, content: bytes, fault: str) -> None:
    """What is wrong with the text is told beside what else there is."""
    file = tmp_path / "ocaserve.toml"
    file.write_bytes(content)
    assert any(each.startswith(fault) for each in faults_of(str(file)))


def test_command_line_over_a_file_with_a_fault(disk: Path) -> None:
    """The fault is the file's, and told as such."""
    file = disk.parent / "ocaserve.toml"
    file.write_text("serve = 1\n")
    with pytest.raises(SettingsError, match="serve = 1"):
        settings_from_directories([str(disk)], ["127.0.0.1:2"], base=str(file))


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """The system's word for it is passed on."""
    file = str(tmp_path / "none.toml")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert caught.value.faults == (f"{file}: No such file or directory",)


def test_table_without_its_required_key(disk: Path) -> None:
    """A store has to say where it is."""
    file = disk.parent / "ocaserve.toml"
    file.write_text("[[store]]\n")
    assert faults_of(str(file)) == ["store[0].path: missing; must be a directory"]


# -- the manual ----------------------------------------------------------------------------------


def test_manual_is_as_the_code_says() -> None:
    """docs/settings.md is what `python -m ocaserve.settings` prints."""
    assert MANUAL.read_text() == describe_settings()
    command = [sys.executable, "-m", "ocaserve.settings"]
    assert subprocess.run(command, capture_output=True, check=True).stdout == MANUAL.read_bytes()

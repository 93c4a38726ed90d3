"""What a configuration meets on a machine, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocaserve.checking import Severity, examine, load_settings
from ocaserve.errors import SettingsError
from tests.support.checked import degraded_of, faults_of, refused_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disk1").mkdir()
    return tmp_path


def write(folder: Path, toml: str = "", stores: tuple[str, ...] = ("disk1",)) -> str:
    file = folder / "ocaserve.toml"
    tables = "".join(f'[[store]]\npath = "{path}"\n' for path in stores)
    file.write_text(f"{toml}\n{tables}")
    return str(file)


# -- stores --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "why"),
    [
        pytest.param("gone", "No such file or directory", id="gone"),
        pytest.param("ocaserve.toml", "Not a directory", id="file"),
        pytest.param("round", "Too many levels of symbolic links", id="link_to_itself"),
        pytest.param("x" * 300, "File name too long", id="long"),
    ],
)
def test_a_store_that_cannot_be_read(folder: Path, path: str, why: str) -> None:
    """The others are served; without others there is nothing to serve."""
    (folder / "round").symlink_to("round")
    file = write(folder, stores=("disk1", path))
    (fault,) = degraded_of(file)
    assert fault.startswith("store[1].path = ")
    assert fault.endswith(f"{why}; must be a directory that can be read")
    assert load_settings(file).store[0].path == str(folder / "disk1")
    (fault,) = refused_of(write(folder, stores=(path,)))
    assert why in fault


def test_stores_that_overlap_by_a_link(folder: Path) -> None:
    (folder / "link").symlink_to("disk1")
    (fault,) = degraded_of(write(folder, stores=("disk1", "link")))
    assert "overlaps store[0].path" in fault


# -- everything at once --------------------------------------------------------------------------


def test_faults_of_every_kind_at_once(folder: Path) -> None:
    """Neither of text, nor of form, nor of what is around hides another."""
    file = write(
        folder,
        "[serve]\nworkers = 0\nworkers = 2\nlisten = [\n'127.0.0.1:0',\n7,\n'x',\n]\n"
        "access_log = 'none/access.log'\n[serve.limits]\nidle_s = 2020-01-01\n"
        "target_bytes = 20000\n[signing]\nkeys_file = 'none.toml'\n[control]\n"
        "tokens_file = 'none'\n[bgp]\nrpki_vrps = 'none.json'\n",
        stores=("disk1", "gone"),
    )
    found = [(each.line, each.key, each.severity.value) for each in examine(base=file).findings]
    assert found == [
        (2, "serve.workers", "refused"),
        (3, "serve.workers", "refused"),
        (6, "serve.listen[1]", "refused"),
        (7, "serve.listen[2]", "refused"),
        (9, "serve.access_log", "degraded"),
        (11, "serve.limits.idle_s", "refused"),
        (12, "serve.limits.target_bytes", "refused"),
        (14, "signing.keys_file", "refused"),
        (16, "control.tokens_file", "degraded"),
        (18, "bgp.rpki_vrps", "degraded"),
        (23, "store[1].path", "degraded"),
    ]


def test_what_follows_from_a_fault_is_not_told(folder: Path) -> None:
    """A key that is refused is not said to be missing as well."""
    assert len(faults_of(write(folder, "[signing]\nkeys = 7"))) == 1
    assert len(faults_of(write(folder, "[control]\nlisten = ['0.0.0.0:1']\ntokens = 7"))) == 1
    assert (
        len(faults_of(write(folder, "[serve.limits]\nhead_bytes = 7\ntarget_bytes = 20000"))) == 1
    )
    file = folder / "ocaserve.toml"
    file.write_text("[[store]\npath = 'disk1'\n")
    assert len(faults_of(str(file))) == 1


def test_what_the_command_line_says_has_no_line(folder: Path) -> None:
    """The file is not at fault for it."""
    file = write(folder, "[serve]\nlisten = ['127.0.0.1:0']")
    (finding,) = examine(listen=["80"], base=file).refused
    assert str(finding).startswith("serve.listen[0] = '80': ")


def test_an_empty_name_is_not_the_working_directory() -> None:
    """As of a variable of a script that is not set."""
    (finding,) = examine([""]).refused
    assert str(finding) == "store[0].path = '': must be a directory"


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        pytest.param(
            "store = []", "store = []: must be a list of tables, one at least", id="empty"
        ),
        pytest.param('[[store]]\npath = "a\\u0000b"', "must be without NUL", id="nul_escaped"),
        pytest.param("[serve]\nworkers = 99999999999999999999", "serve.workers = 999", id="huge"),
        pytest.param("\n[[serve]]", "serve = [{}]: must be a table", id="list"),
        pytest.param('"a\\u001b[31mé" = 1', "a\\x1b[31mé: unknown key", id="escape_in_a_key"),
        pytest.param("[serve]\nlisten = ['unix:/' + 1]", "serve.listen: not TOML", id="sum"),
    ],
)
def test_odd_values(folder: Path, toml: str, text: str) -> None:
    """A fault each, never a traceback."""
    file = folder / "ocaserve.toml"
    file.write_text(toml)
    assert any(text in fault for fault in faults_of(str(file)))


# -- secrets -------------------------------------------------------------------------------------

SECRET = "deadbeef" * 4


@pytest.mark.parametrize(
    "toml",
    [
        f'[control]\ntokens = "{SECRET}"',
        f'[control]\ntokens = ["{SECRET}"]',
        f'[control.tokens]\nread = "{SECRET}"',
        f'[control.tokens]\nread = ["ä{SECRET}"]',
        f'[control.tokens]\nread = {{ a = "{SECRET}" }}',
        f'[control.tokens]\n"{SECRET}" = "read"',
        f'[control]\ntokens = {{ "{SECRET}{SECRET}" = 1 }}',
        f'control = "{SECRET}"',
        f'[signing]\nkeys = "{SECRET}"',
        f'[signing]\nkeys = {{ "1" = "{SECRET}x" }}',
        f'[signing]\nkeys = [["1", "{SECRET}"]]',
        f'[signing]\nkeys = {{ "1" = "{SECRET}',
        f'[signing]\nkeys = {{ 1 = "{SECRET}", 1 = "{SECRET}" }}',
        f'signing = ["{SECRET}"]',
        f'[report]\npush_url = "https://a:{SECRET}@control.example/"',
        f'[report]\npush_url = "ftp://a:{SECRET}@control.example/"',
        f'[report]\npush_url = ["https://a:{SECRET}@control.example/"]',
    ],
)
def test_secrets_are_not_told(folder: Path, toml: str) -> None:
    """Whatever is wrong with them, or with what they were taken for."""
    faults = faults_of(write(folder, toml))
    assert faults
    assert not any(SECRET in fault for fault in faults)


def test_tokens_that_cannot_be_read(folder: Path) -> None:
    """The data plane serves on; who has a token is refused until the file is there."""
    (fault,) = degraded_of(write(folder, "[control]\ntokens_file = 'none'"))
    assert fault == f"control.tokens_file = '{folder}/none': No such file or directory"


def test_keys_that_others_can_read(folder: Path) -> None:
    keys = folder / "keys.toml"
    keys.write_text(f'1 = "{SECRET}"\n')
    keys.chmod(0o644)
    (fault,) = refused_of(write(folder, "[signing]\nkeys_file = 'keys.toml'"))
    assert "others can read it" in fault


# -- folders and files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "fault"),
    [
        ("[serve]\naccess_log = '.'", "must be a file, not a directory"),
        ("[serve]\naccess_log = 'none/a.log'", "must be in a directory that exists"),
        ("[serve]\naccess_log = 'ocaserve.toml/a.log'", "Not a directory"),
        ("[appliance]\nstate_directory = 'none'", "must be a directory that can be written"),
        ("[ledger]\ndirectory = 'none/ledger'", "must be in a directory that exists"),
        ("[ledger]\ndirectory = 'ocaserve.toml'", "must be a directory"),
        ("[report]\ntoken_file = 'none'", "No such file or directory"),
        ("[bgp]\nrecording = 'none'", "must be a file that can be read"),
        ("[control]\ncertificate = 'none'", "must be a PEM certificate with its key"),
    ],
)
def test_what_the_appliance_serves_without(folder: Path, toml: str, fault: str) -> None:
    file = write(folder, toml)
    (found,) = degraded_of(file)
    assert fault in found
    load_settings(file)


def test_refusal_says_all_that_is_refused(folder: Path) -> None:
    """And nothing of what is not."""
    file = write(folder, "[serve]\nworkers = 0\nloop = 1\naccess_log = '.'")
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert len(caught.value.faults) == 2
    assert caught.value.faults[0].startswith(f"{file}:2: serve.workers = 0: ")


def test_severities_are_words_for_programs(folder: Path) -> None:
    (finding,) = examine(base=write(folder, "[serve]\naccess_log = '.'")).findings
    assert finding.severity is Severity.DEGRADED
    assert finding.as_json()["severity"] == "degraded"

"""Signing URLs: for programs, by settings and on the command line. No output shows a secret."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from ocaserve.checking import load_settings
from ocaserve.cli import main
from ocaserve.errors import SettingsError
from ocaserve.protocol.admission import Admission
from ocaserve.settings import Settings, Signing
from ocaserve.signing import host_of, policy_of, sign_folder, sign_url

SECRET = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"
END = 1_800_000_000
DOCS = Path(__file__).parent.parent / "docs" / "signing.md"


def signed(url: str, version: str = "29") -> str:
    return sign_url(url, version=version, secret=bytes.fromhex(SECRET), expires=END)


# -- for programs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "key"),
    [
        pytest.param("https://oca-1.example.net/film/1.mp4", b"film/1.mp4", id="plain"),
        pytest.param("http://OCA-1.example.net:8080/a%20b?c=de", b"a b", id="port_and_query"),
        pytest.param("https://oca-1.example.net/range/0-9/a", b"a", id="part"),
        pytest.param("https://oca-1.example.net/range/0-9?o=a%2Fb", b"a/b", id="part_by_query"),
        pytest.param("https://oca-1.example.net/?o=a", b"a", id="query"),
        pytest.param("https://oca-1.example.net?o=a", b"a", id="query_without_path"),
        pytest.param("https://oca-1.example.net/speedtest", b"speedtest", id="speedtest"),
    ],
)
def test_signed_url_is_admitted(url: str, key: bytes) -> None:
    """What is made is what is taken, and nothing of the URL is lost."""
    policy = policy_of(Signing(keys={"29": SECRET}, hosts=["OCA-1.example.net"]))
    parts = urlsplit(signed(url))
    assert (parts.scheme, parts.netloc) == urlsplit(url)[:2]
    assert parts.query.startswith(urlsplit(url).query)
    target = f"{parts.path}?{parts.query}".encode()
    admission = Admission(has_speedtest=True, signing=policy)
    assert admission.admit(target, parts.netloc.encode(), END).key == key


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        pytest.param("/film/1.mp4", "must be absolute", id="no_host"),
        pytest.param("ftp://oca/film", "must be absolute", id="other_scheme"),
        pytest.param("http://user@oca/film", "neither user nor fragment", id="user"),
        pytest.param("http://oca/film#t=10", "neither user nor fragment", id="fragment"),
        pytest.param("http://oca/é", "must be percent-encoded", id="not_encoded"),
        pytest.param("http://oca/a b", "must be percent-encoded", id="space"),
        pytest.param("http://oca/a?t=1", "has a parameter 't' already", id="signed_already"),
        pytest.param("http://oca/", "names no object (target_names_no_object)", id="no_object"),
        pytest.param("http://oca/../a", "names no object (target_dot_segment)", id="parent"),
    ],
)
def test_url_that_cannot_be_signed(url: str, complaint: str) -> None:
    """The text names the URL and what is wrong with it."""
    with pytest.raises(ValueError, match=r"must|has|names") as caught:
        signed(url)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("version", "secret", "expires", "complaint"),
    [
        pytest.param("a&b", bytes(16), END, "version 'a&b': must be", id="version"),
        pytest.param("", bytes(16), END, "version '': must be", id="no_version"),
        pytest.param("1", b"too short", END, "secret: must be 16 bytes at least", id="secret"),
        pytest.param("1", bytes(16), -1, "expires -1: must be seconds", id="expires"),
    ],
)
def test_values_that_do_not_sign(version: str, secret: bytes, expires: int, complaint: str) -> None:
    """No appliance would take what they make."""
    with pytest.raises(ValueError, match=complaint):
        sign_url("http://oca/a", version=version, secret=secret, expires=expires)


def test_speedtest_is_a_key_where_there_is_none() -> None:
    """An appliance without the test reads the path as a key, and so must who signs for it."""
    url = sign_url(
        "http://oca/speedtest/range/0-9", version="29", secret=bytes.fromhex(SECRET),
        expires=END, has_speedtest=False,
    )  # fmt: skip
    admission = Admission(signing=policy_of(Signing(keys={"29": SECRET})))
    target = url.removeprefix("http://oca").encode()
    assert admission.admit(target, b"oca", END).key == b"speedtest/range/0-9"


def signed_folder(url: str, folder: str = "film/é 1") -> str:
    return sign_folder(url, folder, version="29", secret=bytes.fromhex(SECRET), expires=END)


def test_signed_folder_is_admitted() -> None:
    """For every object in it, by the same path before it."""
    url = signed_folder("https://oca:8443/film/%C3%A9%201/a.m3u8?c=de")
    base = url.partition("/a.m3u8")[0].removeprefix("https://oca:8443").encode()
    assert url.endswith("/a.m3u8?c=de")
    admission = Admission(signing=policy_of(Signing(keys={"29": SECRET})))
    for name in ("a.m3u8", "v/1.m4s"):
        key = f"film/é 1/{name}".encode()
        assert admission.admit(base + b"/" + name.encode(), b"oca:8443", END).key == key


@pytest.mark.parametrize(
    ("url", "folder", "complaint"),
    [
        pytest.param("http://oca/film/1/a", "", "'': must be a folder", id="all"),
        pytest.param("http://oca/film/1/a", "film/2", "'film/2': must be a folder", id="other"),
        pytest.param("http://oca/film/1/a", "film/1/a", "must be a folder", id="object"),
        pytest.param("http://oca", "film", "names no object", id="no_object"),
    ],
)
def test_folder_that_cannot_be_signed(url: str, folder: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        signed_folder(url, folder)


def test_url_is_signed_once() -> None:
    with pytest.raises(ValueError, match="is signed for a folder already"):
        signed(signed_folder("http://oca/film/%C3%A9%201/a"))


def test_host_of() -> None:
    assert host_of("https://OCA-1.example.net:8443/a") == "oca-1.example.net"


def test_example_of_the_manual() -> None:
    """Its commands make, with openssl alone, the URL that it shows."""
    text = DOCS.read_text()
    script = text.partition("```sh\n")[2].partition("```")[0]
    made = subprocess.run(["sh", "-euc", script], capture_output=True, text=True, check=True)
    url = made.stdout.strip()
    assert url in text.replace(script, "")
    plain, _, query = url.partition("?")
    values = {name: value[0] for name, value in parse_qs(query).items()}
    secret = script.partition("secret=")[2].partition("\n")[0]
    again = sign_url(
        plain, version=values["v"], secret=bytes.fromhex(secret), expires=int(values["e"])
    )
    assert again == url


# -- settings ------------------------------------------------------------------------------------


def configure(folder: Path, toml: str) -> str:
    """Write a configuration with a store; returns its name."""
    (folder / "disk1").mkdir(exist_ok=True)
    file = folder / "ocaserve.toml"
    file.write_text(f'{toml}\n[[store]]\npath = "disk1"\n')
    return str(file)


def load(folder: Path, toml: str) -> Settings:
    return load_settings(configure(folder, toml))


def test_without_the_table_nothing_is_signed(tmp_path: Path) -> None:
    assert policy_of(load(tmp_path, "").signing) is None


def test_keys_in_the_file(tmp_path: Path) -> None:
    """With the table, signatures are asked for, unless it says otherwise."""
    toml = f'[signing]\nkeys = {{ 29 = "{SECRET}", "a.b" = "{OTHER}" }}\nhosts = ["Oca-1"]\n'
    policy = policy_of(load(tmp_path, toml).signing)
    assert policy is not None
    assert policy.keys == {b"29": bytes.fromhex(SECRET), b"a.b": bytes.fromhex(OTHER)}
    assert (policy.hosts, policy.clock_skew_s) == (frozenset({b"oca-1"}), 30)
    assert policy_of(load(tmp_path, toml + "required = false\n").signing) is None


def test_keys_in_a_file_of_their_own(tmp_path: Path) -> None:
    """Its path is relative to the configuration."""
    file = tmp_path / "keys.toml"
    write_private(file, f'# rotated in May\n29 = "{SECRET}"\n30 = "{OTHER}"\n')
    toml = '[signing]\nkeys_file = "keys.toml"\nclock_skew_s = 0\n'
    assert load(tmp_path, toml).signing.keys == {"29": SECRET, "30": OTHER}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_file_of_keys_that_others_can_read(tmp_path: Path, mode: int) -> None:
    """It is refused, as every file of secrets that is ours alone."""
    file = tmp_path / "keys.toml"
    write_private(file, f'29 = "{SECRET}"\n')
    file.chmod(mode)
    with pytest.raises(SettingsError, match=r"signing\.keys_file = .*: others can read it"):
        load(tmp_path, '[signing]\nkeys_file = "keys.toml"\n')


def write_private(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


LEAKY = "deadbeefdeadbeef"  # of eight bytes, and so refused


@pytest.mark.parametrize(
    ("toml", "keys", "fault"),
    [
        pytest.param(
            "[signing]\nrequired = true", None,
            "signing.required = true: must be beside signing.keys or signing.keys_file",
            id="no_keys",
        ),
        pytest.param(
            f'[signing]\nkeys = {{ 1 = "{LEAKY}" }}', None,
            "signing.keys = (not shown): must be a table of version = secret: versions of 1 to 32 "
            "letters, digits, `.`, `_`, `~`, `-`; secrets of 16 to 64 bytes in hexadecimal",
            id="short_secret",
        ),
        pytest.param(
            f'[signing]\nkeys = "{LEAKY}"', None, "signing.keys = (not shown): must be a table",
            id="secret_alone",
        ),
        pytest.param(
            f'[signing]\nkeys = {{ "a b" = "{LEAKY * 2}" }}', None, "signing.keys = (not shown)",
            id="bad_version",
        ),
        pytest.param(
            f'signing = "{LEAKY}"', None, "signing = (not shown): must be a table", id="no_table"
        ),
        pytest.param(
            f'[[signing]]\nkeys = {{ 1 = "{LEAKY}" }}', None,
            "signing = (not shown): must be a table", id="list_of_tables",
        ),
        pytest.param(
            f'[signing]\nkeys = {{ 1 = "{LEAKY * 2}" }}\n29 = "{LEAKY}"', None,
            "signing.29: unknown key", id="key_one_too_high",
        ),
        pytest.param(
            f'[signing]\nkeys = {{ 1 = "{LEAKY * 2}" }}\nkeys_file = "k"', None,
            "signing.keys_file: must not stand beside signing.keys", id="both",
        ),
        pytest.param(
            '[signing]\nkeys_file = "k"', None, ": No such file or directory", id="no_file"
        ),
        pytest.param('[signing]\nkeys_file = "k"', f"29: {LEAKY}", ": not TOML", id="no_toml"),
        pytest.param(
            '[signing]\nkeys_file = "k"', f'29 = "{LEAKY}"', ": must hold a table of version",
            id="short_secret_in_file",
        ),
        pytest.param('[signing]\nkeys_file = "k"', "", ": holds no key", id="empty_file"),
        pytest.param(
            f'[signing]\nkeys = {{ 1 = "{LEAKY * 2}" }}\nhosts = ["oca:80"]', None,
            "signing.hosts[0] = 'oca:80': must be a name without port", id="host_with_port",
        ),
    ],
)  # fmt: skip
def test_fault(tmp_path: Path, toml: str, keys: str | None, fault: str) -> None:
    """What is wrong, without the secret that may be right."""
    if keys is not None:
        write_private(tmp_path / "k", keys)
    file = tmp_path / "ocaserve.toml"
    (tmp_path / "disk1").mkdir()
    file.write_text(f'store = [{{ path = "disk1" }}]\n{toml}\n')
    with pytest.raises(SettingsError) as caught:
        load_settings(str(file))
    assert len(caught.value.faults) == 1
    assert fault in str(caught.value)
    assert LEAKY not in str(caught.value)


def test_settings_do_not_print_secrets(tmp_path: Path) -> None:
    """Wherever they may come into a log or a traceback."""
    settings = load(tmp_path, f'[signing]\nkeys = {{ 29 = "{SECRET}" }}\n')
    shown = f"{settings} {settings!r} {policy_of(settings.signing)!r}"
    shown += str(settings.signing.__rich_repr__())
    assert SECRET not in shown
    assert repr(bytes.fromhex(SECRET)) not in shown
    assert "29" in shown


# -- the command line ----------------------------------------------------------------------------

URL = "http://oca-1.example.net/film/1.mp4"


def run(*words: str) -> Result:
    result = CliRunner().invoke(main, words)
    shown = (result.stdout + result.stderr).lower()
    assert SECRET not in shown
    assert OTHER not in shown
    return result


@pytest.fixture
def config(tmp_path: Path) -> str:
    return configure(
        tmp_path,
        '[serve]\naccess_log = "off"\n'
        f'[signing]\nkeys = {{ 9 = "{SECRET}", 10 = "{OTHER}" }}\nhosts = ["oca-1.example.net"]\n',
    )


def test_check_shows_versions_and_no_secrets(config: str) -> None:
    result = run("check", "-c", config)
    assert result.exit_code == 0
    assert "  signed URLs       of keys 10, 9 for oca-1.example.net\n" in result.stdout


def test_sign(config: str) -> None:
    """With the greatest version, for half a day."""
    before = int(time.time())
    result = run("sign", URL, "-c", config)
    assert (result.exit_code, result.stderr) == (0, "")
    values = parse_qs(urlsplit(result.stdout.strip()).query)
    assert values["v"] == ["10"]
    assert 0 <= int(values["e"][0]) - before - 43_200 < 60


def test_sign_with_a_version_and_an_end(config: str, tmp_path: Path) -> None:
    """The same by either way to the secret, and from a program."""
    expected = signed(URL, version="9") + "\n"
    words = ["sign", URL, "--key-version", "9", "--expires", str(END)]
    assert run(*words, "-c", config).stdout == expected
    (tmp_path / "secret").write_text(f"{SECRET.upper()}\n")
    assert run(*words, "--secret-file", str(tmp_path / "secret")).stdout == expected


def test_sign_for_programs(config: str) -> None:
    words = ["--key-version", "9", "--expires", str(END), "--json"]
    result = run("sign", URL, "-c", config, *words)
    assert json.loads(result.stdout) == {
        "url": signed(URL, version="9"),
        "expires": END,
        "key_version": "9",
    }


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        pytest.param([URL], 2, "name one of --config and --secret-file", id="no_key"),
        pytest.param(
            [URL, "--secret-file", "k"], 2, "with --secret-file, name the --key-version",
            id="no_version",
        ),
        pytest.param(
            [URL, "-c", "CONFIG", "--expires", "1", "--expires-in", "1"], 2, "name only one of",
            id="two_ends",
        ),
        pytest.param([URL, "-c", "CONFIG", "--expires-in", "0"], 2, "--expires-in", id="at_once"),
        pytest.param(
            [URL, "-c", "CONFIG", "--key-version", "8"], 1,
            "signing.keys has no version '8'; it has 10, 9", id="version_unknown",
        ),
        pytest.param(
            ["http://oca-2/a", "-c", "CONFIG"], 1,
            "its host must be one of signing.hosts: oca-1.example.net", id="other_host",
        ),
        pytest.param(["/a", "-c", "CONFIG"], 1, "'/a': must be absolute", id="no_url"),
        pytest.param(
            [URL, "--secret-file", "/no/such", "--key-version", "1"], 1,
            "/no/such: No such file or directory", id="no_secret_file",
        ),
        pytest.param(
            [URL, "--secret-file", "CONFIG", "--key-version", "1"], 1,
            "must hold a secret in hexadecimal", id="secret_file_of_another_kind",
        ),
    ],
)  # fmt: skip
def test_sign_that_is_refused(config: str, words: list[str], status: int, complaint: str) -> None:
    """One line that says what is wrong."""
    result = run("sign", *(config if word == "CONFIG" else word for word in words))
    assert (result.exit_code, result.stdout) == (status, "")
    assert complaint in result.stderr


def test_sign_without_keys(tmp_path: Path) -> None:
    result = run("sign", URL, "-c", configure(tmp_path, ""))
    assert result.exit_code == 1
    assert "has no key in [signing]" in result.stderr


def test_sign_a_folder(config: str) -> None:
    """The signature stands in the path, where players keep it."""
    url = "http://oca-1.example.net/film/1/a.m3u8"
    result = run("sign", url, "-c", config, "--folder", "film/1", "--expires", str(END))
    assert re.fullmatch(
        rf"http://oca-1\.example\.net/s/\w+\.{END}\.[\w-]{{43}}/film/1/a\.m3u8\n", result.output
    )

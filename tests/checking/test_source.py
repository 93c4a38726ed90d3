"""A file as text: lines, and all that is no TOML at once."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocaserve.settings.source import SettingsFile, read_source

ROOT = Path(__file__).parent.parent.parent


def read(tmp_path: Path, text: str | bytes) -> SettingsFile:
    file = tmp_path / "some.toml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_source(str(file))


def said(source: SettingsFile) -> list[tuple[int | None, str]]:
    return [(finding.line, finding.text) for finding in source.findings]


GOOD = """\
# "a comment" with [brackets
top = 1

[serve]
listen = [
  "127.0.0.1:80",  # one, and
  # nothing

  "[::]:80",
]
text = \"\"\"
[not.a.head]
a = 1 "" \\"\"\"
\"\"\"
other = '''
]]]'''
"quoted key" = 'it''s' # no
[[store]]
path = "a"
[[store]]
path = "b # c"
inline = { x = [
  1, 2], y = { z = 3 } }
[a.b]
c.d = 1
"""


def test_lines(tmp_path: Path) -> None:
    """Of keys, of elements, of what lies in inline tables."""
    text = GOOD.replace("'it''s'", "'its'")
    source = read(tmp_path, text)
    assert source.findings == []
    assert source.values == tomllib.loads(text)
    lines = {
        "top": 2, "serve": 4, "serve.listen": 5, "serve.listen[0]": 6, "serve.listen[1]": 9,
        "serve.text": 11, "serve.other": 15, "store[0]": 18, "store[0].path": 19,
        "store[1].path": 21, "store[1].inline": 22, "a.b": 24, "a.b.c.d": 25,
    }  # fmt: skip
    assert {key: source.line_of(key) for key in lines} == lines
    assert source.line_of("store[1].none") == 20
    assert source.line_of("store") == 18
    assert source.line_of("none.at.all") is None


@pytest.mark.parametrize("file", sorted(ROOT.glob("deploy/**/*.toml")))
def test_our_own_files_are_read_as_the_library_reads_them(file: Path) -> None:
    """And every key in them has its line."""
    source = read_source(str(file))
    assert source.values == tomllib.loads(file.read_text())
    lines = file.read_text().splitlines()
    for key, line in source.lines.items():
        name = key.rpartition(".")[2].partition("[")[0]
        assert name in lines[line - 1] or "[" in key


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param(
            "a = \nb = 2\nc = 'x\n", [(1, "a: not TOML: Invalid value"), (3, "c: not TOML: ")],
            id="two_values",
        ),
        pytest.param("[a]\nb = 1\nb = 2", [(3, "a.b: not TOML: stands twice, in")], id="key"),
        pytest.param("[a]\n[b]\n[a]", [(3, "a: not TOML: stands twice, in line 1")], id="table"),
        pytest.param("a = 1\n[a]", [(2, "a: not TOML: is a table here")], id="value_and_table"),
        pytest.param("[a\nb = 1\n[c]\nd =", [(1, "not TOML: "), (4, "c.d: not TOML: ")], id="head"),
        pytest.param(
            "a = [\n 1,\nb = 2\nc =\n", [(1, "a: not TOML: "), (4, "c: not TOML: ")], id="bracket"
        ),
        pytest.param("just words", [(1, "not TOML: ")], id="words"),
        pytest.param(
            b"\xef\xbb\xbfa = 1", [(1, "not TOML: begins with a byte order mark")], id="mark"
        ),
        pytest.param("a = 1".encode("utf-16"), [(1, "not TOML: is UTF-16; must be")], id="16"),
        pytest.param(
            "a = 1\nb = 'ä'".encode("latin-1"), [(2, "not TOML: byte 0xe4 is not")], id="latin_1"
        ),
        pytest.param("a = " + "[" * 5000, [(1, "a: not TOML: ")], id="deep"),
    ],
)  # fmt: skip
def test_faults(tmp_path: Path, text: str | bytes, found: list[tuple[int, str]]) -> None:
    """Each with its line, whatever stands around it."""
    is_said = said(read(tmp_path, text))
    assert len(is_said) >= len(found)
    for line, start in found:
        assert any(at == line and fault.startswith(start) for at, fault in is_said)


def test_what_is_good_beside_a_fault_is_known(tmp_path: Path) -> None:
    assert read(tmp_path, "a = 1\nb =\n[c]\nd = 2\n").values == {"a": 1, "c": {"d": 2}}
    assert read(tmp_path, "\ufeffa = 1").values == {"a": 1}
    assert read(tmp_path, "a = 1".encode("utf-16")).values == {"a": 1}


def test_faults_are_bounded(tmp_path: Path) -> None:
    assert len(read(tmp_path, "=\n" * 10_000).findings) == 100


@given(st.text(alphabet="ab=.[]{}\"'#,\n 1\\", max_size=40))
def test_verdict_is_that_of_the_library(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """A file is refused if the library refuses it, and taken as the library reads it if not."""
    source = read(tmp_path_factory.mktemp("any"), text)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert source.findings
    else:
        assert source.findings == []
        assert source.values == values

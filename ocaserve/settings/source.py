"""A configuration file as text: what it says, in which line each key stands, and what is no TOML.

The standard library's parser stops at the first fault and forgets the lines. So a file is cut into
statements here (a table's head, or a key with its value), each is parsed alone, and what they say
is put together: all faults are found, and what is good is known to the rest of the checks. A file
without fault is taken as the standard library reads it as a whole.
"""

from __future__ import annotations

import codecs
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ocaserve.errors import SettingsError
from ocaserve.findings import Finding

_MOST_BYTES = 16 << 20
_MOST_FAULTS = 100
_TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?:"{1,2}(?!"))?'
    r"|'''.*?'''(?:'{1,2}(?!'))?"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{},\n]"
    r"|[^\s\[\]{},\"'\#]+"
    r"|[^\S\n]+"
    r"|.",
    re.DOTALL,
)
_WHERE = re.compile(r" \(at .*\)$")
_KEY = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=")


class Statement(NamedTuple):
    """A table's head, or a key with its value. `line` is where it begins, counted from 1."""

    line: int
    text: str

    @property
    def is_head(self) -> bool:
        return self.text.lstrip().startswith("[")


@dataclass
class SettingsFile:
    """What a file says. `lines` knows keys as findings name them, `store[0].path`."""

    file: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def line_of(self, key: str) -> int | None:
        """Where it stands; for one that does not, where the table does in which it would.

        A list of tables stands where the first of them does.
        """
        while key and key not in self.lines:
            if f"{key}[0]" in self.lines:
                return self.lines[f"{key}[0]"]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.lines.get(key)


def read_source(file: str) -> SettingsFile:
    """Read a file, whatever is in it. Raises SettingsError if it cannot be read."""
    source = SettingsFile(file)
    try:
        with Path(file).open("rb") as opened:
            data = opened.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise SettingsError([f"{file}: {why}"]) from error
    if len(data) > _MOST_BYTES:
        raise SettingsError([f"{file}: not TOML: has more than {_MOST_BYTES:,} bytes"])
    text = _decode(data, source)
    _parse(text.replace("\r\n", "\n"), source)
    return source


def _decode(data: bytes, source: SettingsFile) -> str:
    """The text. What is not UTF-8 is a finding, and read as what it most likely is."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            _complain(source, "not TOML: is UTF-16", line=1)
            return data.decode(name, "replace")
    if data.startswith(codecs.BOM_UTF8):
        why = "not TOML: begins with a byte order mark, as some editors write it"
        _complain(source, why, "UTF-8 without one", line=1)
        data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _complain(source, f"not TOML: byte 0x{data[error.start]:02x} is not UTF-8", line=line)
        return data.decode("latin-1")


def _complain(
    source: SettingsFile, why: str, allowed: str = "UTF-8", *, line: int, key: str = ""
) -> None:
    source.findings.append(Finding(key, why, allowed=allowed, file=source.file, line=line))


# -- statements ----------------------------------------------------------------------------------


def split_statements(text: str) -> Iterator[Statement]:
    """The statements of a text, one after the other, without empty lines and comments alone."""
    position, line = 0, 1
    while position < len(text):
        end = _end_of_statement(text, position)
        part = text[position:end]
        if re.sub(r"(?m)^\s*(#.*)?$", "", part).strip():
            blank = len(part) - len(part.lstrip())
            yield Statement(line + part.count("\n", 0, blank), part.strip())
        line += part.count("\n")
        position = end


def _end_of_statement(text: str, start: int) -> int:
    """Behind the end of the line in which all brackets are closed.

    One that never is ends with its first line, so that what follows is seen for itself.
    """
    depth, first_end = 0, len(text)
    for token in _TOKEN.finditer(text, start):
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == "\n":
            first_end = min(first_end, token.end())
            if depth <= 0:
                return token.end()
    return len(text) if depth <= 0 else first_end


def _lines_of_elements(statement: Statement) -> list[int]:
    """The line in which each element of a list begins, if the value is one."""
    found: list[int] = []
    depth, line, is_expected = 0, statement.line, False
    value = statement.text.partition("=")[2]
    line += statement.text.count("\n", 0, len(statement.text) - len(value))
    for token in _TOKEN.finditer(value):
        said = token[0]
        if depth == 1 and is_expected and said.strip() and said[0] not in "#,]":
            found.append(line)
            is_expected = False
        depth += (said in "[{") - (said in "]}")
        is_expected |= (said == "[" and depth == 1 and not found) or (said == "," and depth == 1)
        line += said.count("\n")
    return found


# -- what they say -------------------------------------------------------------------------------


class _Builder:
    """Puts together what the statements say."""

    def __init__(self, source: SettingsFile) -> None:
        self._source = source
        self._table: dict[str, Any] | None = source.values
        self._name = ""
        self._tables: set[str] = set()

    def add(self, statement: Statement) -> None:
        """Take up one more."""
        try:
            said = tomllib.loads(statement.text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            self._refuse(statement, error)
            return
        if statement.is_head:
            self._enter(said, statement)
        elif self._table is not None:
            self._merge(self._table, said, self._name, statement)

    def _refuse(self, statement: Statement, error: Exception) -> None:
        key = _KEY.match(statement.text)
        name = _join(self._name, key[1]) if key else ""
        why = _WHERE.sub("", str(error)) if isinstance(error, ValueError) else "nested too deeply"
        self._complain(name, f"not TOML: {why}", statement.line)
        if statement.is_head:
            self._table = None  # what follows belongs to nothing that is known

    def _complain(self, key: str, why: str, line: int) -> None:
        _complain(self._source, why, "", line=line, key=key)

    def _enter(self, said: Mapping[str, Any], statement: Statement) -> None:
        """Go to the table that a head names, which is made where it is not there yet."""
        table, name = self._source.values, ""
        while True:
            ((key, below),) = said.items()
            name = _join(name, key)
            is_last = not below or below == [{}]
            found = table.setdefault(key, [] if isinstance(below, list) else {})
            if isinstance(below, list):
                if not isinstance(found, list) or name in self._source.lines:
                    self._clash(name, statement)
                    return
                found.append({})
            if isinstance(found, list):
                name = f"{name}[{len(found) - 1}]"
                found = found[-1] if found else None
            if not isinstance(found, dict):
                self._clash(name, statement)
                return
            if is_last:
                break
            table, said = found, below
        if name in self._tables:
            self._complain_twice(name, statement.line)
        self._tables.add(name)
        self._source.lines.setdefault(name, statement.line)
        self._table, self._name = found, name

    def _clash(self, name: str, statement: Statement) -> None:
        self._complain(name, "not TOML: is a table here, and has a value before", statement.line)
        self._table = None

    def _merge(
        self, table: dict[str, Any], said: Mapping[str, Any], name: str, statement: Statement
    ) -> None:
        for key, value in said.items():
            where = _join(name, key)
            before = table.get(key)
            is_dotted = isinstance(value, dict) and len(value) == 1 and "=" in statement.text
            if isinstance(before, dict) and isinstance(value, dict) and is_dotted:
                self._merge(before, value, where, statement)
            elif key in table:
                self._complain_twice(where, statement.line)
            else:
                table[key] = value
                self._note(value, where, statement.line, statement)

    def _note(self, value: object, where: str, line: int, statement: Statement | None) -> None:
        """The lines of a value and of what is in it."""
        self._source.lines.setdefault(where, line)
        if isinstance(value, dict):
            for key, below in value.items():
                self._note(below, _join(where, key), line, statement)
        elif isinstance(value, list):
            lines = _lines_of_elements(statement) if statement is not None else []
            for place, below in enumerate(value):
                its_line = lines[place] if len(lines) == len(value) else line
                self._note(below, f"{where}[{place}]", its_line, None)

    def _complain_twice(self, where: str, line: int) -> None:
        """The first counts for what else is looked at."""
        why = f"not TOML: stands twice, in line {self._source.lines.get(where, '?')} too"
        fault = Finding(where, why, file=self._source.file, line=line, is_harmless=True)
        self._source.findings.append(fault)


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _parse(text: str, source: SettingsFile) -> None:
    """Fill `values` and `lines`; add what is no TOML to the findings."""
    builder = _Builder(source)
    for statement in split_statements(text):
        builder.add(statement)
        if len(source.findings) >= _MOST_FAULTS:
            return
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        if not source.findings:  # a fault of the statements together that we did not see
            at = re.search(r"line (\d+)", str(error))
            line = int(at[1]) if at else text.count("\n") + 1
            _complain(source, f"not TOML: {_WHERE.sub('', str(error))}", "", line=line)
    else:
        source.values = values

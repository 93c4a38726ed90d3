"""Records of settings: what one may hold, what is wrong with one, and how one is shown.

A setting is a field `Annotated[type, number(...)]` (or `text`, `choice`) of a msgspec Struct. The
bounds that are checked, the words an error uses for what is allowed, and the row of the manual are
all read from that one place.

`msgspec.convert` stops at the first fault and does not know near misses; an operator wants all
faults of a file at once. So the tables are walked here, and msgspec judges the single values.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time
from functools import cache
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from ocaserve.findings import Finding

_MOST_SHOWN = 80  # characters of a value that is refused
_LONGEST_KEY = 40  # of one that is not known
_LONGEST_BESIDE_SECRETS = 15
_PASSWORD = re.compile(r"://[^/@\s'\"]*@")
_NOTHING: Final = object()


def number(unit: str, low: float, high: float, why: str, *, is_above: bool = False) -> Meta:
    """A number from `low` (above it, when `is_above`) to `high`, both included."""
    extra = {"unit": unit}
    if is_above:
        return Meta(gt=low, le=high, extra=extra, description=why)
    return Meta(ge=low, le=high, extra=extra, description=why)


def text(
    allowed: str,
    why: str,
    *,
    default: str = "",
    each: str = "a string",
    parse: Callable[[str], object] | None = None,
    **bounds: Any,
) -> Meta:
    """A string. `allowed` says in words what `bounds` (of msgspec.Meta) demand.

    default: what the manual says where the default differs from machine to machine.
    each: what an element of a list must be. parse: judges an element, too; its ValueError says
    what is wrong.
    """
    extra = {"allowed": allowed, "default": default, "each": each, "parse": parse}
    return Meta(extra=extra, description=why, **bounds)


def secret(allowed: str, why: str, *, each: str = "a string", **bounds: Any) -> Meta:
    """What no output may show: neither an error, nor the manual, nor the settings in force."""
    extra = {"allowed": allowed, "secret": "yes", "each": each}
    return Meta(extra=extra, description=why, **bounds)


def choice(why: str) -> Meta:
    """One of the words of a Literal."""
    return Meta(description=why)


def flag(why: str) -> Meta:
    """Yes or no."""
    return Meta(extra={"allowed": "true or false"}, description=why)


# -- what is wrong -------------------------------------------------------------------------------


class Judged(NamedTuple):
    """What of a table can be used, and what is wrong with the rest of it."""

    values: dict[str, Any]
    findings: list[Finding]


def judge(shape: type[Struct], values: object, path: str = "") -> Judged:
    """Look at every key of a table: unknown, missing, or with a value that is not allowed."""
    if not isinstance(values, Mapping):
        shown = _show(values, hidden=_holds_secrets(shape))
        return Judged({}, [Finding(path, value=shown, allowed="a table")])
    hints = _hints(shape)
    good: dict[str, Any] = {}
    findings: list[Finding] = []
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if key not in hints:
            findings.append(_unknown(where, key, hints))
            continue
        kept, faults = _judge_value(hints[key], value, where)
        findings += faults
        if kept is not _NOTHING:
            good[key] = kept
    for name in _required(shape):
        if name not in values:
            where = f"{path}.{name}" if path else name
            findings.append(Finding(where, "missing", allowed=describe_allowed(hints[name])))
    return Judged(good, findings)


def _judge_value(hint: Any, value: object, where: str) -> tuple[object, list[Finding]]:
    """What of a value can be used, `_NOTHING` if nothing can; and what is wrong with it."""
    inner, meta = _unwrap(hint)
    if isinstance(inner, type) and issubclass(inner, Struct):
        return judge(inner, value, where)
    element = _table_of_list(inner)
    if element is not None and isinstance(value, list):
        return _judge_tables(element, value, where)
    if typing.get_origin(inner) is list and isinstance(value, list) and value:
        found = _judge_elements(typing.get_args(inner)[0], meta, value, where)
        if found:
            return _NOTHING, found
    if _holds_nul(value):
        fault = Finding(where, value=_show(value, hidden=is_secret(hint)), allowed="without NUL")
        return _NOTHING, [fault]
    try:
        msgspec.convert(value, hint)
    except (msgspec.ValidationError, OverflowError):
        shown = _show(value, hidden=is_secret(hint))
        return _NOTHING, [Finding(where, value=shown, allowed=describe_allowed(hint))]
    return value, []


def _judge_tables(
    element: type[Struct], tables: Sequence[object], where: str
) -> tuple[list[object], list[Finding]]:
    """Those of a list of tables that are whole."""
    required = set(_required(element))
    good: list[object] = []
    findings: list[Finding] = []
    for place, table in enumerate(tables):
        judged = judge(element, table, f"{where}[{place}]")
        findings += judged.findings
        if required <= judged.values.keys():
            good.append(judged.values)
    return good, findings


def _judge_elements(
    hint: Any, meta: Meta | None, values: Sequence[object], where: str
) -> list[Finding]:
    """Each element of a list by itself, so that the one at fault is named."""
    extra = _extra(meta) if meta is not None else {}
    allowed, parse = extra.get("each", "a string"), extra.get("parse")
    findings = []
    for place, value in enumerate(values):
        key, shown = f"{where}[{place}]", _show(value, hidden="secret" in extra)
        try:
            msgspec.convert(value, hint)
            if parse is not None:
                parse(typing.cast("str", value))
        except (msgspec.ValidationError, OverflowError):
            findings.append(Finding(key, value=shown, allowed=allowed))
        except ValueError as error:
            findings.append(Finding(key, str(error), value=shown))
    return findings


def _holds_nul(value: object) -> bool:
    """No path, name or address of the system has one."""
    if isinstance(value, list):
        return any(_holds_nul(each) for each in value)
    return isinstance(value, str) and "\0" in value


@cache
def _required(shape: type[Struct]) -> tuple[str, ...]:
    return tuple(info.name for info in msgspec.structs.fields(shape) if info.required)


@cache
def _hints(shape: type[Struct]) -> dict[str, Any]:
    return typing.get_type_hints(shape, include_extras=True)


def _holds_secrets(shape: type[Struct]) -> bool:
    """Whether a setting of a table, or of one below it, is secret."""
    return any(
        is_secret(hint) or (isinstance(hint, type) and _holds_secrets(hint))
        for hint in _hints(shape).values()
        if is_secret(hint) or (isinstance(hint, type) and issubclass(hint, Struct))
    )


def _unknown(where: str, key: str, hints: Mapping[str, Any]) -> Finding:
    close = difflib.get_close_matches(key, hints, n=1)
    if close:
        return Finding(where, f"unknown key; did you mean {close[0]!r}?")
    longest = _LONGEST_BESIDE_SECRETS if any(map(is_secret, hints.values())) else _LONGEST_KEY
    if len(key) > longest:  # rather a value, which may be secret
        where = f"{where.removesuffix(key)}{key[:4]}..."
    return Finding(where, f"unknown key; known here: {', '.join(sorted(hints))}")


def _show(value: object, *, hidden: bool = False) -> str:
    """A value as TOML writes it, near enough to be found in the file; or that it is hidden."""
    if hidden:
        return "(not shown)"
    if isinstance(value, bool):
        shown = str(value).lower()
    elif isinstance(value, date | time):  # which datetime is, too
        shown = value.isoformat()
    else:
        shown = _PASSWORD.sub("://(not shown)@", repr(value))
    return shown if len(shown) <= _MOST_SHOWN else shown[: _MOST_SHOWN - 3] + "..."


# -- what is allowed -----------------------------------------------------------------------------


def describe_allowed(hint: Any) -> str:
    """What a setting may be, in words."""
    inner, meta = _unwrap(hint)
    origin = typing.get_origin(inner)
    if origin is Literal:
        return " or ".join(f'"{word}"' for word in typing.get_args(inner))
    if origin is list and _table_of_list(inner):
        return "a list of tables"
    if origin is list:
        return _describe_list(meta)
    if origin is not None and origin is not dict:
        return " or ".join(describe_allowed(part) for part in typing.get_args(inner))
    assert meta is not None, f"{inner} has no record"
    return _describe_number(inner, meta) if inner in (int, float) else _extra(meta)["allowed"]


def _describe_list(meta: Meta | None) -> str:
    allowed = _extra(meta).get("allowed") if meta is not None else ""
    is_never_empty = meta is not None and meta.min_length
    return allowed or "a list of strings" + ", not empty" * bool(is_never_empty)


def is_secret(hint: Any) -> bool:
    """Whether a setting was declared with `secret`."""
    _, meta = _unwrap(hint)
    return meta is not None and "secret" in (meta.extra or {})


def _describe_number(inner: type, meta: Meta) -> str:
    kind = "a whole number" if inner is int else "a number"
    low = f"above {meta.gt:,}" if meta.gt is not None else f"from {meta.ge:,}"
    return f"{kind} {low} to {meta.le:,} {_extra(meta)['unit']}"


def _extra(meta: Meta) -> dict[str, Any]:
    return typing.cast("dict[str, Any]", meta.extra)


def _unwrap(hint: Any) -> tuple[Any, Meta | None]:
    if typing.get_origin(hint) is Annotated:
        inner, meta = typing.get_args(hint)[:2]
        return inner, meta
    return hint, None


def _table_of_list(hint: Any) -> type[Struct] | None:
    """The Struct S of a hint `list[S]`."""
    if typing.get_origin(hint) is not list:
        return None
    element = typing.get_args(hint)[0]
    return element if isinstance(element, type) and issubclass(element, Struct) else None


# -- the manual ----------------------------------------------------------------------------------


class SettingRow(NamedTuple):
    """A setting as a manual shows it; `default` is in TOML, or a word such as "required"."""

    key: str
    default: str
    allowed: str
    why: str


def describe_rows(shape: type[Struct]) -> Iterator[SettingRow]:
    """The settings of a Struct, but for tables below it. Literal text is in backticks."""
    hints = _hints(shape)
    for info in msgspec.structs.fields(shape):
        hint = hints[info.name]
        meta = _unwrap(hint)[1]
        if meta is not None:
            why = meta.description or ""
            yield SettingRow(info.name, _show_default(info, meta), describe_allowed(hint), why)


def describe_table(title: str, shape: type[Struct]) -> str:
    """A section of the manual: a row for each setting of a Struct, in Markdown."""
    rows = [
        f"| `{row.key}` | {row.default} | {row.allowed} | {row.why} |\n"
        for row in describe_rows(shape)
    ]
    head = "| key | default | allowed | what, and why |\n|---|---|---|---|\n"
    return f"\n## {title}\n\n{inspect.getdoc(shape) or ''}\n\n{head}{''.join(rows)}"


def _show_default(info: msgspec.structs.FieldInfo, meta: Meta) -> str:
    if info.required:
        return "required"
    if info.default is not msgspec.NODEFAULT:
        return _as_code(info.default)
    return (meta.extra or {}).get("default") or _as_code(info.default_factory())


def _as_code(value: object) -> str:
    return f"`{msgspec.json.encode(value).decode()}`"

"""Records of settings: what one may hold, what is wrong with one, and how one is shown.

A setting is a field `Annotated[type, number(...)]` (or `text`, `choice`) of a msgspec Struct. The
bounds that are checked, the words an error uses for what is allowed, and the row of the manual are
all read from that one place.

`msgspec.convert` stops at the first fault and does not know near misses; an operator wants all
faults of a file at once. So the tables are walked here, and msgspec judges the single values.
"""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_MOST_SHOWN = 80  # characters of a value that is refused


def number(unit: str, low: float, high: float, why: str, *, is_above: bool = False) -> Meta:
    """A number from `low` (above it, when `is_above`) to `high`, both included."""
    extra = {"unit": unit}
    if is_above:
        return Meta(gt=low, le=high, extra=extra, description=why)
    return Meta(ge=low, le=high, extra=extra, description=why)


def text(allowed: str, why: str, *, default: str = "", **bounds: Any) -> Meta:
    """A string. `allowed` says in words what `bounds` (of msgspec.Meta) demand.

    default: what the manual says where the default differs from machine to machine.
    """
    return Meta(extra={"allowed": allowed, "default": default}, description=why, **bounds)


def secret(allowed: str, why: str, **bounds: Any) -> Meta:
    """What no output may show: neither an error, nor the manual, nor the settings in force."""
    return Meta(extra={"allowed": allowed, "secret": "yes"}, description=why, **bounds)


def choice(why: str) -> Meta:
    """One of the words of a Literal."""
    return Meta(description=why)


def flag(why: str) -> Meta:
    """Yes or no."""
    return Meta(extra={"allowed": "true or false"}, description=why)


# -- what is wrong -------------------------------------------------------------------------------


def find_faults(shape: type[Struct], values: object, path: str = "") -> Iterator[str]:
    """A line for each key that is unknown, missing, or has a value that is not allowed."""
    if not isinstance(values, Mapping):
        hidden = any(is_secret(hint) for hint in _hints(shape).values())
        yield f"{path} = {_show(values, hidden=hidden)}: must be a table"
        return
    hints = _hints(shape)
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if key in hints:
            yield from _find_value_faults(hints[key], value, where)
        else:
            yield f"{where}: unknown key{_suggest(key, hints)}"
    for info in msgspec.structs.fields(shape):
        if info.required and info.name not in values:
            where = f"{path}.{info.name}" if path else info.name
            yield f"{where}: missing; must be {describe_allowed(hints[info.name])}"


def _find_value_faults(hint: Any, value: object, where: str) -> Iterator[str]:
    inner, _ = _unwrap(hint)
    if isinstance(inner, type) and issubclass(inner, Struct):
        yield from find_faults(inner, value, where)
        return
    element = _table_of_list(inner)
    if element is not None and isinstance(value, list) and value:
        for place, table in enumerate(value):
            yield from find_faults(element, table, f"{where}[{place}]")
        return
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        shown = _show(value, hidden=is_secret(hint))
        yield f"{where} = {shown}: must be {describe_allowed(hint)}"


def _hints(shape: type[Struct]) -> dict[str, Any]:
    return typing.get_type_hints(shape, include_extras=True)


def _suggest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known here: {', '.join(sorted(known))}"


def _show(value: object, *, hidden: bool = False) -> str:
    """A value as TOML writes it, near enough to be found in the file; or that it is hidden."""
    if hidden:
        return "(not shown)"
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
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


def _extra(meta: Meta) -> dict[str, str]:
    return typing.cast("dict[str, str]", meta.extra)


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


def describe_table(title: str, shape: type[Struct]) -> str:
    """A section of the manual: a row for each setting of a Struct, in Markdown."""
    hints = _hints(shape)
    rows = [
        f"| `{info.name}` | {_show_default(info, meta)} | {describe_allowed(hints[info.name])} "
        f"| {meta.description} |\n"
        for info in msgspec.structs.fields(shape)
        if (meta := _unwrap(hints[info.name])[1]) is not None
    ]
    head = "| key | default | allowed | what, and why |\n|---|---|---|---|\n"
    return f"\n## {title}\n\n{(shape.__doc__ or '').strip()}\n\n{head}{''.join(rows)}"


def _show_default(info: msgspec.structs.FieldInfo, meta: Meta) -> str:
    if info.required:
        return "required"
    if info.default is not msgspec.NODEFAULT:
        return _as_code(info.default)
    return (meta.extra or {}).get("default") or _as_code(info.default_factory())


def _as_code(value: object) -> str:
    return f"`{msgspec.json.encode(value).decode()}`"

"""The settings in force, and the limits among them."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Meta, Struct

from ocaserve.control.state import ControlState
from ocaserve.schema import is_secret
from ocaserve.settings import Limits
from ocaserve.stores import show_path

_HIDDEN = "(hidden)"


class LimitShown(Struct, frozen=True, kw_only=True):
    """A limit, what is in force, and why there is one."""

    name: str
    value: float
    unit: str
    reason: str


class LimitList(Struct, frozen=True, kw_only=True):
    """What one client may cost; see `[serve.limits]`."""

    limits: list[LimitShown]


def describe_limits(state: ControlState) -> LimitList:
    """Each with its value, unit and reason."""
    limits = state.settings.serve.limits
    hints = typing.get_type_hints(Limits, include_extras=True)
    return LimitList(
        limits=[
            LimitShown(
                name=name, value=getattr(limits, name), unit=unit, reason=meta.description or ""
            )
            for name, hint in hints.items()
            for meta in _metas(hint)
            if (unit := str((meta.extra or {}).get("unit", "")))
        ]
    )


def _metas(hint: Any) -> Iterator[Meta]:
    return (part for part in typing.get_args(hint)[1:] if isinstance(part, Meta))


def describe_settings_in_force(state: ControlState) -> dict[str, Any]:
    """All of them as JSON values, without what must not be known."""
    return _hide(state.settings)


def _hide(record: Struct) -> dict[str, Any]:
    hints = typing.get_type_hints(type(record), include_extras=True)
    return {
        name: _HIDDEN if is_secret(hint) and getattr(record, name) else _show(getattr(record, name))
        for name, hint in hints.items()
    }


def _show(value: Any) -> Any:
    if isinstance(value, Struct):
        return _hide(value)
    if isinstance(value, list | tuple):
        return [_show(element) for element in value]
    if isinstance(value, str):
        return show_path(value)
    return msgspec.to_builtins(value)

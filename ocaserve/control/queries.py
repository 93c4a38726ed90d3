"""Queries of requests, as endpoints want them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import msgspec

from ocaserve.control.problems import Problem


def convert_query(pairs: Collection[tuple[str, str]], kind: type[Any]) -> Any:
    """Names and values, decoded, as a `kind` of struct. Raises Problem."""
    given = dict(pairs)
    if len(given) < len(pairs):
        raise Problem(400, "the query: each parameter may stand once")
    try:
        query = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(400, f"the query: {error}") from error
    for name, value in msgspec.structs.asdict(query).items():
        # Not a number is within any bounds, since it compares with none.
        if isinstance(value, float) and not math.isfinite(value):
            raise Problem(400, f"the query: {name} = {value}: must be a finite number")
    return query

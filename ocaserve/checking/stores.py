"""Stores: whether their folders can be read, and lie apart."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from ocaserve.checking.folders import PATIENCE_S, look_at_folders
from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings


def find_store_faults(settings: Settings) -> Iterator[Finding]:
    """A store that cannot be read is done without; if none can, there is nothing to serve.

    One that gives no answer may be there in a moment: it is no reason to refuse.
    """
    silence = f"no answer in {PATIENCE_S:g} s"
    try:
        seen = look_at_folders([store.path for store in settings.store])
    except OSError as error:
        seen, silence = {}, f"nobody can look at it: {error.strerror or error}"
    faults: list[Finding] = []
    places: dict[int, Path] = {}
    for place, store in enumerate(settings.store):
        key = f"store[{place}].path"
        sight = seen.get(store.path)
        if sight is None:
            yield Finding(key, silence, repr(store.path), severity=Severity.DEGRADED)
        elif sight.fault:
            allowed = "a directory that can be read"
            faults.append(Finding(key, sight.fault, repr(store.path), allowed, Severity.DEGRADED))
        else:
            places[place] = Path(sight.real)
    if len(faults) == len(settings.store):
        faults = [replace(each, severity=Severity.REFUSED) for each in faults]
    yield from faults
    yield from _find_overlaps(settings, places)


def _find_overlaps(settings: Settings, places: dict[int, Path]) -> Iterator[Finding]:
    for (first, one), (second, other) in combinations(places.items(), 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            paths = [settings.store[place].path for place in (first, second)]
            if os.path.commonpath(paths) in paths:  # the text says so, and is told
                continue
            yield Finding(
                f"store[{second}].path",
                f"overlaps store[{first}].path = {paths[0]!r} by a link",
                repr(paths[1]),
                "a directory apart",
                Severity.DEGRADED,
            )

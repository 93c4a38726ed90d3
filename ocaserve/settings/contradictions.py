"""What is wrong although each value alone is allowed: overlaps, and paths that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from ocaserve.addresses import parse_address
from ocaserve.settings.model import Settings
from ocaserve.settings.signing import find_signing_faults


def find_contradictions(settings: Settings) -> Iterator[str]:
    """A line for each fault, naming key, value and what is allowed."""
    yield from _find_listen_faults(settings.serve.listen)
    yield from _find_store_faults([Path(store.path) for store in settings.store])
    yield from find_signing_faults(settings.signing)
    log = settings.serve.access_log
    if log not in ("-", "off") and not Path(log).parent.is_dir():
        yield f"serve.access_log = {log!r}: must be in a directory that exists"


def _find_listen_faults(listen: Sequence[str]) -> Iterator[str]:
    addresses = {}
    for place, given in enumerate(listen):
        try:
            addresses[place] = parse_address(given)
        except ValueError as error:
            yield f"serve.listen[{place}] = {given!r}: {error}"
    for (first, one), (second, other) in combinations(addresses.items(), 2):
        if one.overlaps(other):
            yield (
                f"serve.listen[{second}] = {listen[second]!r}: "
                f"overlaps serve.listen[{first}] = {listen[first]!r}; must be another address"
            )


def _find_store_faults(paths: Sequence[Path]) -> Iterator[str]:
    places = {}
    for place, path in enumerate(paths):
        try:
            os.scandir(path).close()
            places[place] = path.resolve()
        except OSError as error:
            where = f"store[{place}].path = {str(path)!r}"
            yield f"{where}: {error.strerror}; must be a directory that can be read"
    for (first, one), (second, other) in combinations(places.items(), 2):
        if one.is_relative_to(other) or other.is_relative_to(one):
            yield (
                f"store[{second}].path = {str(paths[second])!r}: overlaps "
                f"store[{first}].path = {str(paths[first])!r}; must be a directory apart"
            )

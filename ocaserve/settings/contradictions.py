"""What is wrong although each value alone is allowed: overlaps, and paths that are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from ocaserve.addresses import parse_address
from ocaserve.kernel_tls import why_not
from ocaserve.settings.model import Settings
from ocaserve.settings.tls import Tls


def find_contradictions(settings: Settings) -> Iterator[str]:
    """A line for each fault, naming key, value and what is allowed."""
    yield from _find_listen_faults(
        {f"serve.listen[{n}]": given for n, given in enumerate(settings.serve.listen)}
        | {f"tls.listen[{n}]": given for n, given in enumerate(settings.tls.listen)}
    )
    yield from _find_tls_faults(settings.tls)
    yield from _find_store_faults([Path(store.path) for store in settings.store])
    log = settings.serve.access_log
    if log not in ("-", "off") and not Path(log).parent.is_dir():
        yield f"serve.access_log = {log!r}: must be in a directory that exists"


def _find_listen_faults(listen: Mapping[str, str]) -> Iterator[str]:
    """listen: what is said, by the key that says it."""
    addresses = {}
    for key, given in listen.items():
        try:
            addresses[key] = parse_address(given)
        except ValueError as error:
            yield f"{key} = {given!r}: {error}"
    for (first, one), (second, other) in combinations(addresses.items(), 2):
        if one.overlaps(other):
            yield (
                f"{second} = {listen[second]!r}: "
                f"overlaps {first} = {listen[first]!r}; must be another address"
            )


def _find_tls_faults(tls: Tls) -> Iterator[str]:
    if not tls.listen:
        return
    # Needed by few, and slow to import: not before somebody wants TLS.
    from ocaserve.certificates import find_pair_faults, is_cipher_list

    for place, given in enumerate(tls.listen):
        if given.startswith("unix:"):
            yield f"tls.listen[{place}] = {given!r}: must be a TCP address"
    obstacle = why_not() if tls.ktls == "require" else None
    if obstacle is not None:
        yield f"tls.ktls = 'require': TLS in the kernel {obstacle}"
    if not is_cipher_list(tls.ciphers):
        yield f"tls.ciphers = {tls.ciphers!r}: must be cipher names as OpenSSL writes them"
    if not tls.certificates:
        yield "tls.certificates: missing; must be a list of tables, one for each certificate"
    for place, pair in enumerate(tls.certificates):
        for fault in find_pair_faults(pair):
            yield f"tls.certificates[{place}].{fault}"


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

"""What is wrong although each value alone is allowed: overlaps, and paths that are not there."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from ocaserve.addresses import parse_address
from ocaserve.errors import SettingsError
from ocaserve.kernel_tls import why_not
from ocaserve.settings.bgp import find_bgp_faults
from ocaserve.settings.control import Control, read_tokens
from ocaserve.settings.health import find_health_faults
from ocaserve.settings.model import Settings
from ocaserve.settings.report import find_report_faults
from ocaserve.settings.signing import find_signing_faults
from ocaserve.settings.tls import Tls


def find_contradictions(settings: Settings) -> Iterator[str]:
    """A line for each fault, naming key, value and what is allowed."""
    listen = {
        "serve": settings.serve.listen,
        "tls": settings.tls.listen,
        "control": settings.control.listen,
    }
    yield from _find_listen_faults(listen)
    yield from _find_control_faults(settings.control)
    yield from _find_tls_faults(settings.tls)
    yield from _find_store_faults([Path(store.path) for store in settings.store])
    yield from find_signing_faults(settings.signing)
    yield from find_bgp_faults(settings.bgp)
    state = settings.appliance.state_directory
    if state and not os.access(state, os.W_OK | os.X_OK):
        yield f"appliance.state_directory = {state!r}: must be a directory that can be written"
    yield from find_report_faults(settings.report)
    yield from find_health_faults(settings.health)
    log = settings.serve.access_log
    if log not in ("-", "off") and not Path(log).parent.is_dir():
        yield f"serve.access_log = {log!r}: must be in a directory that exists"
    elif log not in ("-", "off") and Path(log).is_dir():
        yield f"serve.access_log = {log!r}: must be a file, not a directory"
    directory = settings.ledger.directory
    if directory and not Path(directory).parent.is_dir():
        yield f"ledger.directory = {directory!r}: must be in a directory that exists"


def _find_listen_faults(tables: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """In the addresses of all tables together: no two may have one in common."""
    addresses = {}
    for table, listen in tables.items():
        for place, given in enumerate(listen):
            where = f"{table}.listen[{place}] = {given!r}"
            try:
                addresses[where] = parse_address(given)
            except ValueError as error:
                yield f"{where}: {error}"
    for (first, one), (second, other) in combinations(addresses.items(), 2):
        if one.overlaps(other):
            yield f"{second}: overlaps {first}; must be another address"


def _find_control_faults(control: Control) -> Iterator[str]:
    tokens = control.tokens
    if control.tokens_file:
        try:
            tokens = read_tokens(control)
        except SettingsError as error:
            yield from error.faults
            return
    if not tokens.read and not tokens.operate:
        yield from _find_open_doors(control)
    if control.certificate:
        yield from _find_certificate_faults(control)
    elif control.key:
        yield f"control.key = {control.key!r}: must stand beside control.certificate"


def _find_open_doors(control: Control) -> Iterator[str]:
    for place, given in enumerate(control.listen):
        try:
            is_open = not parse_address(given).is_local
        except ValueError:  # told already
            continue
        if is_open:
            yield (
                f"control.listen[{place}] = {given!r}: without control.tokens or "
                'control.tokens_file it must be a loopback address or "unix:/path"'
            )


def _find_certificate_faults(control: Control) -> Iterator[str]:
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            control.certificate, control.key or None, password=_refuse_password
        )
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        yield (
            f"control.certificate = {control.certificate!r}: {error}; must be a PEM certificate "
            "with its key, there or in control.key, without a password"
        )


def _refuse_password() -> str:
    """Without this, OpenSSL asks the terminal."""
    raise ValueError("the key needs a password")


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

"""What is wrong in a file although each value alone is allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from ocaserve.addresses import parse_address
from ocaserve.findings import Finding
from ocaserve.settings.appliance import StoreSettings, find_appliance_faults
from ocaserve.settings.bgp import find_bgp_faults
from ocaserve.settings.control import Control
from ocaserve.settings.fill import find_fill_faults, find_miss_faults
from ocaserve.settings.health import HealthSettings, find_health_faults
from ocaserve.settings.model import Settings
from ocaserve.settings.queue import find_queue_faults
from ocaserve.settings.report import find_report_faults
from ocaserve.settings.serve import Limits
from ocaserve.settings.signing import find_signing_faults
from ocaserve.settings.tls import Tls


def find_contradictions(settings: Settings) -> Iterator[Finding]:
    """What the file says against itself. Nothing on a disk is looked at."""
    listen = {
        "serve": settings.serve.listen,
        "tls": settings.tls.listen,
        "control": settings.control.listen,
    }
    yield from _find_listen_faults(listen)
    yield from find_appliance_faults(settings.appliance)
    yield from _find_limit_faults(settings.serve.limits)
    yield from _find_control_faults(settings.control)
    yield from _find_tls_faults(settings.tls)
    yield from _find_store_faults(settings.store)
    yield from find_signing_faults(settings.signing)
    yield from find_bgp_faults(settings.bgp)
    yield from find_queue_faults(settings.queue)
    yield from find_fill_faults(settings.fill)
    yield from find_miss_faults(settings.fill, is_signed=settings.signing.required)
    warning_s = settings.health.contact_warning_s
    is_set = warning_s != HealthSettings().contact_warning_s
    yield from find_report_faults(settings.report, warning_s if is_set else None)
    yield from find_health_faults(settings.health)


def _find_listen_faults(tables: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """In the addresses of all tables together: no two may have one in common."""
    addresses = {}
    for table, listen in tables.items():
        for place, given in enumerate(listen):
            addresses[f"{table}.listen[{place}]"] = (parse_address(given), given)
    for (first, (one, said)), (second, (other, given)) in combinations(addresses.items(), 2):
        if one.overlaps(other):
            why = f"overlaps {first} = {said!r}"
            yield Finding(second, why, repr(given), "another address", also=(first,))


def _find_limit_faults(limits: Limits) -> Iterator[Finding]:
    """Limits of which one can never be reached, or is reached by everybody."""
    name = "serve.limits"
    is_given = limits.target_bytes != Limits().target_bytes  # by default, heads may be shorter
    if is_given and limits.target_bytes > limits.head_bytes:
        yield Finding(
            f"{name}.target_bytes", "", str(limits.target_bytes),
            f"at most {name}.head_bytes = {limits.head_bytes}, which a target is part of",
            also=(f"{name}.head_bytes",),
        )  # fmt: skip
    least = limits.min_bytes_per_s * 8
    if 0 < limits.pace_bits_per_s < least:
        yield Finding(
            f"{name}.pace_bits_per_s", "", str(limits.pace_bits_per_s),
            f"at least {least}, the bits of {name}.min_bytes_per_s = {limits.min_bytes_per_s}, "
            "below which a connection is closed",
            also=(f"{name}.min_bytes_per_s",),
        )  # fmt: skip


def _find_control_faults(control: Control) -> Iterator[Finding]:
    tokens = control.tokens
    if not (tokens.read or tokens.operate or control.tokens_file):
        yield from _find_open_doors(control)
    if control.key and not control.certificate:
        yield Finding(
            "control.key", value=repr(control.key), allowed="beside control.certificate",
            also=("control.certificate",),
        )  # fmt: skip


def _find_open_doors(control: Control) -> Iterator[Finding]:
    for place, given in enumerate(control.listen):
        if not parse_address(given).is_local:
            yield Finding(
                f"control.listen[{place}]",
                "without control.tokens or control.tokens_file it must be a loopback address or "
                '"unix:/path"',
                repr(given),
                also=("control.tokens", "control.tokens_file"),
            )


def _find_tls_faults(tls: Tls) -> Iterator[Finding]:
    if not tls.listen:
        return
    if not tls.certificates:
        allowed = "a list of tables, one for each certificate"
        yield Finding("tls.certificates", "missing", allowed=allowed)


def _find_store_faults(stores: Sequence[StoreSettings]) -> Iterator[Finding]:
    if not stores:
        yield Finding("store", "", "[]", "a list of tables, one at least")
    paths = [os.path.normpath(store.path) for store in stores]
    for (first, one), (second, other) in combinations(enumerate(paths), 2):
        if os.path.commonpath((one, other)) in (one, other):
            yield Finding(
                f"store[{second}].path", f"overlaps store[{first}].path = {stores[first].path!r}",
                repr(stores[second].path), "a directory apart", also=(f"store[{first}].path",),
            )  # fmt: skip

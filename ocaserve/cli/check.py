"""`check`: what a configuration would do, and all that is wrong with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from ocaserve.cli.options import config_option, json_option, require_config
from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError

if TYPE_CHECKING:
    from ocaserve.checking import Examined, Finding
    from ocaserve.settings import Settings


@click.command()
@config_option()
@click.option(
    "--user", help="Whom the appliance runs as.  [default: the unit's, for root; else you]"
)
@click.option("--strict", is_flag=True, help="End with status 1 for warnings, too.")
@json_option
def check(config: str | None, user: str | None, strict: bool, as_json: bool) -> None:
    """Validate a configuration and say what would be done.

    Status 1 when `serve` would not start with it. What the appliance would start without, a disk
    that is gone or a certificate that has expired, is a warning.
    """
    from ocaserve.checking.account import examine_as, find_account

    config = require_config(config)
    try:
        account = find_account(config, user)
        examined = examine_as(account, config)
    except OcaserveError as error:
        if as_json:
            faults = str(error).splitlines()
            print_json(_verdict(config, user, is_good=False, faults=faults))
            sys.exit(1)
        fail(error)
    if as_json:
        print_json(_document(config, account.name if account else None, examined))
    else:
        _print(config, examined)
        if account is not None:
            click.echo(f"looked at as the user {account.name}{account.why}", err=True)
    sys.exit(1 if examined.refused or (strict and examined.degraded) else 0)


def _print(config: str, examined: Examined) -> None:
    for finding in examined.findings:
        place = f"{finding.place}: " if finding.place else ""
        kind = "" if finding in examined.refused else "warning: "
        click.echo(f"ocaserve: {place}{kind}{finding.text}", err=True)
    if examined.refused:
        return
    click.echo(f"{config}: good{_but(examined.degraded)}")
    for what, value in _describe(examined.settings):
        click.echo(f"  {what:<17} {value}")


def _but(degraded: Sequence[Finding]) -> str:
    if not degraded:
        return ""
    return f", but for {len(degraded)} warning{'s' * (len(degraded) > 1)}"


def _document(config: str, user: str | None, examined: Examined) -> dict[str, Any]:
    is_good = not examined.refused
    document = _verdict(
        config, user, is_good=is_good, faults=[str(each) for each in examined.refused]
    )
    document["warnings"] = [str(each) for each in examined.degraded]
    document["findings"] = [each.as_json() for each in examined.findings]
    return document | ({"would": _as_json(examined.settings)} if is_good else {})


def _verdict(
    config: str, user: str | None, *, is_good: bool, faults: Sequence[str]
) -> dict[str, Any]:
    """What the document has in any case."""
    return {
        "config": config,
        "user": user,
        "good": is_good,
        "faults": list(faults),
        "warnings": [],
        "findings": [],
    }


def _as_json(settings: Settings) -> dict[str, Any]:
    signing = settings.signing
    return {
        "listen": settings.serve.listen,
        "tls_listen": settings.tls.listen,
        "control": settings.control.listen,
        "workers": settings.worker_count,
        "stores": [store.path for store in settings.store],
        "neighbors": [
            {"address": each.address, "peer_as": each.peer_as} for each in settings.bgp.neighbor
        ],
        "recording": settings.bgp.recording or None,
        "access_log": settings.serve.access_log,
        "signing": {"versions": sorted(signing.keys), "hosts": signing.hosts}
        if signing.required
        else None,
    }


def _describe(settings: Settings) -> Iterator[tuple[str, str]]:
    workers = settings.worker_count
    yield "would listen on", ", ".join(settings.serve.listen)
    if settings.tls.listen:
        yield "and with TLS on", ", ".join(settings.tls.listen)
    yield "for operators on", ", ".join(settings.control.listen) or "no address"
    yield "with", f"{workers} worker{'s' * (workers > 1)}"
    for store in settings.store:
        yield "would serve", store.path
    for neighbor in settings.bgp.neighbor:
        yield "would hear of", f"routes from {neighbor.address} (AS {neighbor.peer_as})"
    if settings.bgp.recording:
        yield "would hear of", f"routes from the recording {settings.bgp.recording}"
    yield "access log", settings.serve.access_log
    signing = settings.signing
    if signing.required:
        names = ", ".join(signing.hosts) or "any name"
        yield "signed URLs", f"of keys {', '.join(sorted(signing.keys))} for {names}"

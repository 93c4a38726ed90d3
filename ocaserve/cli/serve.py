"""`serve` and `check`: running the appliance, and what its configuration would do."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ocaserve.cli.output import fail, print_json
from ocaserve.errors import OcaserveError, SettingsError

if TYPE_CHECKING:
    from ocaserve.settings import Settings

_CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@click.command()
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="Configuration file (TOML).")
@click.option("--listen", multiple=True, metavar="ADDR:PORT", help="Address to serve on.")
@click.option(
    "--control", multiple=True, metavar="ADDR:PORT", help="Address for operators and programs."
)
@click.option("--workers", type=click.IntRange(1, 1024), help="Number of serving processes.")
@click.option("--ready-fd", type=click.IntRange(3), hidden=True, help="Told when all serve.")
def serve(
    directories: tuple[str, ...],
    config: str | None,
    listen: tuple[str, ...],
    control: tuple[str, ...],
    workers: int | None,
    ready_fd: int | None,
) -> None:
    """Run the appliance: with only DIR, on defaults (http://127.0.0.1:8080)."""
    from ocaserve.control.process import control_service
    from ocaserve.serving.counters import COUNTERS, GAUGES, STORE_BYTES
    from ocaserve.serving.tls_contexts import TlsHeritage, prepare_tls
    from ocaserve.serving.worker import run_worker
    from ocaserve.settings import settings_from_directories
    from ocaserve.steering.exabgp import exabgp_service
    from ocaserve.supervisor import Supervisor

    if not directories and config is None:
        raise click.UsageError("name a DIR to serve, or a configuration file with -c")

    heritage = TlsHeritage()

    def load() -> Settings:
        settings = settings_from_directories(directories, listen, workers, config, control)
        prepare_tls(settings.tls, heritage)
        return settings

    _start_logging()
    try:
        supervisor = Supervisor(
            load(),
            partial(run_worker, heritage=heritage),
            names=(COUNTERS, GAUGES),
            services=(control_service(), exabgp_service()),
            labels=lambda settings: {STORE_BYTES: [store.path for store in settings.store]},
            load=load,
            arguments=sys.argv[1:],
            ready_fd=ready_fd,
        )
        supervisor.run()
    except OcaserveError as error:
        fail(error)


class OneLine(logging.Formatter):
    """What comes from outside, a path or a reason, must not begin a line of its own in the log."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        line = super().formatMessage(record)
        return _CONTROL_CHARACTERS.sub(lambda found: f"\\x{ord(found[0]):02x}", line)


def _start_logging() -> None:
    """One line an event on standard error; the journal adds the time itself."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(f"{stamp}ocaserve[%(process)d]: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


@click.command()
@click.option(
    "-c", "--config", type=click.Path(dir_okay=False), required=True, help="Configuration file."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config: str, as_json: bool) -> None:
    """Validate a configuration and say what would be done."""
    try:
        settings = _load_without_doubt(config)
    except SettingsError as error:
        if as_json:
            print_json({"config": config, "good": False, "faults": error.faults})
            sys.exit(1)
        fail(error)
    if as_json:
        print_json({"config": config, "good": True, "faults": [], "would": _as_json(settings)})
        return
    click.echo(f"{config}: good")
    for what, value in _describe(settings):
        click.echo(f"  {what:<17} {value}")


def _load_without_doubt(config: str) -> Settings:
    """The settings, if there is nothing to say against them.

    That includes what keeps no server from starting, such as an expired certificate. Raises
    SettingsError.
    """
    from ocaserve.certificates import find_open_keys, find_untimely
    from ocaserve.settings import load_settings
    from ocaserve.settings.bgp import find_absent_vrps
    from ocaserve.steering.exabgp import check_with_exabgp

    settings = load_settings(config)
    check_with_exabgp(settings)
    pairs = settings.tls.certificates if settings.tls.listen else []
    doubts = [*find_untimely(pairs), *find_open_keys(settings), *find_absent_vrps(settings.bgp)]
    if doubts:
        raise SettingsError([f"{config}: {doubt}" for doubt in doubts])
    return settings


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

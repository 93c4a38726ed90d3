"""`serve` and `check`: running the appliance, and what its configuration would do."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError, SettingsError

if TYPE_CHECKING:
    from ocaserve.settings import Settings


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


def _start_logging() -> None:
    """One line an event on standard error; the journal adds the time itself."""
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        format=f"{stamp}ocaserve[%(process)d]: %(message)s", level=logging.INFO, stream=sys.stderr
    )


@click.command()
@click.option(
    "-c", "--config", type=click.Path(dir_okay=False), required=True, help="Configuration file."
)
def check(config: str) -> None:
    """Validate a configuration and say what would be done."""
    from ocaserve.certificates import find_open_keys, find_untimely
    from ocaserve.settings import load_settings
    from ocaserve.steering.exabgp import check_with_exabgp

    try:
        settings = load_settings(config)
        check_with_exabgp(settings)
    except OcaserveError as error:
        fail(error)
    workers = settings.worker_count
    pairs = settings.tls.certificates if settings.tls.listen else []
    doubts = [*find_untimely(pairs), *find_open_keys(settings)]
    if doubts:
        fail(SettingsError([f"{config}: {doubt}" for doubt in doubts]))
    click.echo(f"{config}: good")
    click.echo(f"  would listen on   {', '.join(settings.serve.listen)}")
    if settings.tls.listen:
        click.echo(f"  and with TLS on   {', '.join(settings.tls.listen)}")
    click.echo(f"  for operators on  {', '.join(settings.control.listen) or 'no address'}")
    click.echo(f"  with              {workers} worker{'s' * (workers > 1)}")
    for store in settings.store:
        click.echo(f"  would serve       {store.path}")
    for neighbor in settings.bgp.neighbor:
        click.echo(f"  would hear of     routes from {neighbor.address} (AS {neighbor.peer_as})")
    click.echo(f"  access log        {settings.serve.access_log}")
    signing = settings.signing
    if signing.required:
        names = ", ".join(signing.hosts) or "any name"
        click.echo(f"  signed URLs       of keys {', '.join(sorted(signing.keys))} for {names}")

"""`serve`: running the appliance."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

import click

from ocaserve.cli.options import check_open, config_option, find_config
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError, StartError

if TYPE_CHECKING:
    from ocaserve.settings import Settings

_log = logging.getLogger(__name__)


@click.command()
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@config_option()
@click.option("--listen", multiple=True, metavar="ADDR:PORT", help="Address to serve on.")
@click.option(
    "--control", multiple=True, metavar="ADDR:PORT", help="Address for operators and programs."
)
@click.option("--workers", type=click.IntRange(1, 1024), help="Number of serving processes.")
@click.option("--quiet", is_flag=True, help="Log only what is wrong.")
@click.option("--ready-fd", type=click.IntRange(3), hidden=True, help="Told when all serve.")
def serve(
    directories: tuple[str, ...],
    config: str | None,
    listen: tuple[str, ...],
    control: tuple[str, ...],
    workers: int | None,
    quiet: bool,
    ready_fd: int | None,
) -> None:
    """Run the appliance: with only DIR, on defaults (http://127.0.0.1:8080).

    With DIR, no configuration is read but one that is named with -c.
    """
    from ocaserve.checking import examine
    from ocaserve.control.process import control_service
    from ocaserve.fill.process import fill_service
    from ocaserve.logs import start_logging
    from ocaserve.popularity.process import popularity_service
    from ocaserve.routing.exabgp import exabgp_service
    from ocaserve.serving.counters import COUNTERS, GAUGES, STORE_BYTES
    from ocaserve.serving.tls_contexts import TlsHeritage
    from ocaserve.serving.worker import run_worker
    from ocaserve.supervisor import Supervisor

    if not directories:
        config = find_config(config)
        if config is None:
            raise click.UsageError("name a DIR to serve, or a configuration file with -c")

    if ready_fd is not None:
        check_open(ready_fd)
    heritage = TlsHeritage()

    def load() -> tuple[Settings, list[str]]:
        examined = examine(directories, listen, workers, config, control)
        settings = examined.require()
        degraded = [str(finding) for finding in examined.degraded]
        for fault in degraded:
            _log.warning("goes on in spite of: %s", fault)
        heritage.prepare(settings.tls)
        return settings, degraded

    start_logging(logging.WARNING if quiet else logging.INFO)
    try:
        settings, _ = load()
        supervisor = Supervisor(
            settings,
            partial(run_worker, heritage=heritage),
            names=(COUNTERS, GAUGES),
            services=(
                control_service(),
                fill_service(),
                popularity_service(),
                exabgp_service(),
            ),
            labels=lambda settings: {STORE_BYTES: [store.path for store in settings.store]},
            load=load,
            arguments=sys.argv[1:],
            ready_fd=ready_fd,
        )
        supervisor.run()
    except OcaserveError as error:
        fail(error)
    except OSError as error:
        fail(StartError(f"cannot start: {error}"))
    except MemoryError:
        fail(StartError("cannot start: there is no memory"))

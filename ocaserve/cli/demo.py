"""`demo`: something to see within a minute."""

from __future__ import annotations

import click

from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError


@click.command()
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDR:PORT")
@click.option("--control", default="127.0.0.1:8081", show_default=True, metavar="ADDR:PORT")
@click.option("--directory", type=click.Path(file_okay=False), help="Where to keep the sample.")
def demo(listen: str, control: str, directory: str | None) -> None:
    """Make a short video, serve it, replay recorded routes, and print what to try."""
    from ocaserve.demo import run_demo

    try:
        run_demo(listen, control, directory)
    except OcaserveError as error:
        fail(error)

"""Commands that read from the running appliance: where it is, and what it answers."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from ocaserve.addresses import Address, parse_address
from ocaserve.errors import OcaserveError

_TIMEOUT_S = 60.0
_PIECE_BYTES = 64 * 1024
F = TypeVar("F", bound=Callable[..., Any])


class AnswerError(OcaserveError):
    """The appliance cannot be reached, or says no; the text says which."""


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def where_options(command: F) -> F:
    """`-c FILE` and `--control ADDR:PORT`: which appliance."""
    for option in (
        click.option("--control", metavar="ADDR:PORT", help="Its control address."),
        click.option(
            "-c", "--config", type=click.Path(dir_okay=False), help="Its configuration file."
        ),
    ):
        command = option(command)
    return command


def find_control(config: str | None, control: str | None) -> Address:
    """The address to talk to. Raises OcaserveError."""
    if control is None and config is not None:
        from ocaserve.settings import load_settings

        listen = load_settings(config).control.listen
        if not listen:
            raise AnswerError(f"{config}: control.listen is empty: nothing to talk to")
        control = listen[0]
    try:
        return parse_address(control or "127.0.0.1:8081")
    except ValueError as error:
        raise AnswerError(f"--control {control!r}: {error}") from None


def fetch(
    address: Address, path: str, query: Mapping[str, object] | None = None
) -> Iterator[bytes]:
    """The body of an answer, piece by piece. Raises AnswerError."""
    target = f"{path}?{urlencode(query)}" if query else path
    connection = (
        _LocalConnection(address.path)
        if address.path
        else http.client.HTTPConnection(address.host, address.port, timeout=_TIMEOUT_S)
    )
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        if response.status != 200:
            raise AnswerError(_tell_problem(response.status, response.read(_PIECE_BYTES)))
        while piece := response.read(_PIECE_BYTES):
            yield piece
    except (OSError, http.client.HTTPException) as error:
        where = address.path or f"{address.host}:{address.port}"
        raise AnswerError(f"{where}: {error}; is the appliance running?") from None
    finally:
        connection.close()


def fetch_json(address: Address, path: str, query: Mapping[str, object] | None = None) -> Any:
    """The document of an answer. Raises AnswerError."""
    return json.loads(b"".join(fetch(address, path, query)))


def _tell_problem(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"the answer was {status}"

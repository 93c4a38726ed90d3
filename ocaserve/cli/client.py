"""Calling the control process of a running appliance, over TCP or a local socket.

It is small on purpose: the standard library's HTTP client, one connection, JSON in and out. Where
the appliance is and which token to show come from a configuration file or the command line.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from ocaserve.addresses import Address, parse_address
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError

DEFAULT_CONTROL = "127.0.0.1:8081"
_PATIENCE_S = 30.0
_PIECE_BYTES = 1 << 16

F = TypeVar("F", bound=Callable[..., Any])


class CallError(OcaserveError):
    """The appliance cannot be reached, or refuses; the text says which and why."""


def appliance_options(command: F) -> F:
    """The options by which a command finds a running appliance; it gets a `Client`."""
    for option in (
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False),
            help="File that holds a token, when the appliance asks for one.",
        ),
        click.option(
            "--control",
            metavar="ADDR:PORT",
            help=f"Where the appliance is controlled.  [default: {DEFAULT_CONTROL}]",
        ),
        click.option(
            "-c", "--config", type=click.Path(dir_okay=False), help="The appliance's configuration."
        ),
    ):
        command = option(command)
    return command


def connect(config: str | None, control: str | None, token_file: str | None) -> Client:
    """The appliance that the options name; ends the command where they are wrong."""
    try:
        return _find_client(config, control, token_file)
    except OcaserveError as error:
        fail(error)


def _find_client(config: str | None, control: str | None, token_file: str | None) -> Client:
    from ocaserve.control.local_token import find_token

    listen, token, is_tls = DEFAULT_CONTROL, "", False
    if config is not None:
        listen, token, is_tls = _read_configuration(config)
    try:
        address = parse_address(control or listen)
    except ValueError as error:
        raise click.UsageError(f"--control {control!r}: {error}") from None
    if token_file is not None:
        token = _read_token(token_file)
    token = token or find_token(os.environ, address)
    return Client(address, token, is_tls=is_tls and not address.path)


def _read_configuration(config: str) -> tuple[str, str, bool]:
    """Where it listens for us, a token to operate it, whether it speaks TLS."""
    from ocaserve.settings import load_settings
    from ocaserve.settings.control import read_tokens

    control = load_settings(config).control
    if not control.listen:
        raise CallError(f"{config}: control.listen is empty: the appliance cannot be controlled")
    tokens = read_tokens(control)
    return control.listen[0], next(iter(tokens.operate), ""), bool(control.certificate)


def _read_token(file: str) -> str:
    try:
        return Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CallError(f"{file}: {error}") from error


class Client:
    """One appliance. Calls raise CallError."""

    def __init__(self, address: Address, token: str, *, is_tls: bool = False) -> None:
        self.address = address
        self._token = token
        self._is_tls = is_tls

    def get(self, path: str) -> dict[str, Any]:
        """What is there."""
        return self._call("GET", path, None)

    def pieces(self, path: str) -> Iterator[bytes]:
        """What is there as it comes, however long it is."""
        with self._exchange("GET", path, None) as response:
            if response.status >= 400:
                self._understand(response.status, response.read())
            while piece := response.read(_PIECE_BYTES):
                yield piece

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have something done; members that are None are left out."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self._call("POST", path, given)

    def _call(self, method: str, path: str, body: object) -> dict[str, Any]:
        with self._exchange(method, path, body) as response:
            return self._understand(response.status, response.read())

    @contextmanager
    def _exchange(self, method: str, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connection()
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, path, data, headers)
            yield connection.getresponse()
        except ConnectionRefusedError:
            self._complain("nothing listens there; is the appliance running?")
        except (OSError, http.client.HTTPException) as error:
            self._complain(str(error) or type(error).__name__)
        finally:
            connection.close()

    def _understand(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._complain("what answers there is no appliance")
        if status >= 400:
            faults = answer.get("faults", [])
            self._complain("; ".join([answer.get("detail", str(status)), *faults]))
        return answer

    def _complain(self, why: str) -> NoReturn:
        raise CallError(f"{self.address}: {why}")

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.path:
            return _LocalConnection(self.address.path)
        host, port = self.address.host, self.address.port
        if self._is_tls:
            # The address is the operator's own, and certificates are for names.
            context = ssl.create_default_context()
            context.check_hostname = False
            return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_S, context=context)
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE_S)


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over a path of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE_S)
        try:
            self.sock.connect(self._path)
        except FileNotFoundError:
            raise ConnectionRefusedError from None


def print_json(answer: object) -> None:
    """For programs: one document."""
    json.dump(answer, sys.stdout, indent=2)
    sys.stdout.write("\n")

"""Calling the control process of a running appliance, over TCP or a local socket.

It is small on purpose: the standard library's HTTP client, one connection, JSON in and out. Where
the appliance is and which token to show come from the command line, else from the environment, else
from the service's configuration. What names an address alone gets no token of that configuration:
it may be another appliance.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from ocaserve.addresses import Address, parse_address
from ocaserve.cli.options import CONFIG_VARIABLE, CONTROL_VARIABLE, config_option, find_config
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError

DEFAULT_CONTROL = "127.0.0.1:8081"
_PATIENCE_S = 30.0
_PIECE_BYTES = 1 << 16
_TLS = "https://"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, for which Python has no name

_RELOADED = (
    "https:// in front of an address asks for TLS, and a configuration counts from the reload on"
)

_HOW_TO_BE_LET_IN = (
    "call as root or as the appliance's own user, or name a token with --token-file; "
    "`ocaserve token` makes one"
)

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class CallError(OcaserveError):
    """The appliance cannot be reached, or refuses; the text says which and why."""


def appliance_options(command: F) -> F:
    """The options by which a command finds a running appliance; it gets a `ControlClient`."""
    for option in (
        click.option(
            "--token-file",
            type=click.Path(dir_okay=False),
            help="File that holds a token, when the appliance asks for one.",
        ),
        click.option(
            "--control",
            metavar="ADDR:PORT",
            help="Where the appliance is controlled; https:// in front where it speaks TLS.  "
            f"[env: {CONTROL_VARIABLE}; default: {DEFAULT_CONTROL}]",
        ),
        config_option("The appliance's configuration."),
    ):
        command = option(command)
    return command


def connect(config: str | None, control: str | None, token_file: str | None) -> ControlClient:
    """The appliance that the options name; ends the command where they are wrong."""
    try:
        return _find_client(*find_appliance(config, control), token_file)
    except OcaserveError as error:
        fail(error)


def ask(call: Callable[[], T]) -> T:
    """What a call to the appliance brings; ends the command where it cannot be had."""
    try:
        return call()
    except OcaserveError as error:
        fail(error)


def find_appliance(
    config: str | None, control: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[str | None, str | None]:
    """The configuration and the address that are meant, of which either may be missing."""
    if config is None and control is None:
        control = environment.get(CONTROL_VARIABLE) or None
        config = environment.get(CONFIG_VARIABLE) or None
        if control is None:
            config = find_config(config, environment)
    return config, control


def _find_client(config: str | None, control: str | None, token_file: str | None) -> ControlClient:
    listen, token, certificate = DEFAULT_CONTROL, "", ""
    if config is not None:
        listen, token, certificate = _read_configuration(config)
    if token_file is not None:
        token = _read_token(token_file)
    return _client_at(control or listen, "--control", token, certificate)


def client_at(given: str, option: str, token_file: str | None) -> ControlClient:
    """Who listens at an address. option: by which it was given. Raises OcaserveError."""
    return _client_at(given, option, "" if token_file is None else _read_token(token_file), "")


def _client_at(given: str, option: str, token: str, certificate: str) -> ControlClient:
    from ocaserve.control.local_token import find_token

    is_tls = given.startswith(_TLS) or bool(certificate)
    try:
        address = parse_address(given.removeprefix(_TLS))
    except ValueError as error:
        raise click.UsageError(f"{option} {given!r}: {error}") from None
    tls = _trust(certificate) if is_tls and not address.path else None
    return ControlClient(address, token, find_token(os.environ, address), tls)


def _read_configuration(config: str) -> tuple[str, str, str]:
    """Where it listens for us, a token, the file of its certificate if it has one."""
    from ocaserve.settings import load_control
    from ocaserve.settings.control import read_tokens

    control = load_control(config)
    if not control.listen:
        raise CallError(f"{config}: control.listen is empty: the appliance cannot be controlled")
    tokens = read_tokens(control)
    token = next(iter([*tokens.operate, *tokens.read]), "")  # the greater role first
    return control.listen[0], token, control.certificate


def _trust(certificate: str) -> ssl.SSLContext:
    """Whom to believe: who has this very certificate, or, without one, the system's authorities."""
    context = ssl.create_default_context()
    if certificate:
        from ocaserve.health.certificates import first_certificate

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # certificates are for names, and we have an address
        # Itself, whoever has signed it; and one that has expired must not lock the operator out.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        try:
            pem = Path(certificate).read_text("ascii", "replace")
            context.load_verify_locations(cadata=first_certificate(pem))
        except (OSError, ValueError) as error:
            raise CallError(f"{certificate}: {error}") from error
    return context


def _read_token(file: str) -> str:
    """The token that is all a file holds; what else it holds is not shown."""
    from ocaserve.settings.control import is_token

    try:
        token = Path(file).read_text("ascii", "replace").strip()
    except OSError as error:
        raise CallError(f"--token-file {file!r}: {error.strerror}") from error
    if not is_token(token):
        raise CallError(
            f"--token-file {file!r}: must hold one token and nothing else: 16 characters or more "
            "of `A-Za-z0-9._~+/=-`"
        )
    return token


class ControlClient:
    """One appliance. Calls raise CallError.

    token: what the operator has named, else empty; found: what the appliance itself has left for
    commands on this machine.
    """

    def __init__(
        self, address: Address, token: str, found: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.address = address
        self._token = token or found
        self._may_go_without = not token
        self._tls = tls

    def without_token(self) -> ControlClient:
        """The same appliance, asked as anybody may."""
        return ControlClient(self.address, "", "", self._tls)

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

    def put(self, path: str, body: bytes) -> dict[str, Any]:
        """Put JSON there, as it is."""
        return self._call("PUT", path, body)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Have something done; members that are None are left out."""
        given = {name: value for name, value in (body or {}).items() if value is not None}
        return self._call("POST", path, given)

    def delete(self, path: str) -> None:
        """Have it gone."""
        self._call("DELETE", path, None)

    def _call(self, method: str, path: str, body: object) -> dict[str, Any]:
        with self._exchange(method, path, body) as response:
            return self._understand(response.status, response.read())

    @contextmanager
    def _exchange(self, method: str, path: str, body: object) -> Iterator[http.client.HTTPResponse]:
        connection = self._connection()
        try:
            response = self._ask(connection, method, path, body)
            if response.status == 401 and self._token and self._may_go_without:
                # A killed appliance leaves its token; what needs none is not lost by it.
                self._token = ""
                response.read()
                response = self._ask(connection, method, path, body)
            yield response
        except ConnectionRefusedError:
            self._complain("nothing listens there; is the appliance running?")
        except ssl.SSLError as error:
            if error.reason == "WRONG_VERSION_NUMBER":  # of a record, which thus is none
                self._complain(f"no TLS is spoken there; {_RELOADED}")
            self._complain(str(error))
        except http.client.RemoteDisconnected:
            self._complain(f"it ends the connection, as where TLS is spoken; {_RELOADED}")
        except (OSError, http.client.HTTPException) as error:
            self._complain(str(error) or type(error).__name__)
        finally:
            connection.close()

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: object
    ) -> http.client.HTTPResponse:
        headers = {"Accept": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, headers)
        return connection.getresponse()

    def _understand(self, status: int, data: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(data) if data else {}
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._complain("what answers there is no appliance")
        if status >= 400:
            faults = answer.get("faults", [])
            hint = [_HOW_TO_BE_LET_IN] if status == 401 and not self._token else []
            self._complain("; ".join([answer.get("detail", str(status)), *faults, *hint]))
        return answer

    def _complain(self, why: str) -> NoReturn:
        raise CallError(f"{self.address}: {why}")

    def _connection(self) -> http.client.HTTPConnection:
        if self.address.path:
            return _LocalConnection(self.address.path)
        host, port = self.address.host, self.address.port
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=_PATIENCE_S, context=self._tls)
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

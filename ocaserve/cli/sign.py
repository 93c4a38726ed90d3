"""`sign`: a URL that only who has the key can make."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import NamedTuple

import click

from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError, SigningError

_VALID_S = 43_200  # half a day: the longest film, paused over dinner


class _Key(NamedTuple):
    version: str
    secret: bytes
    has_speedtest: bool


@click.command()
@click.argument("url")
@click.option("-c", "--config", type=click.Path(dir_okay=False), help="Take the keys from here.")
@click.option(
    "--secret-file", type=click.Path(dir_okay=False), help="Or one key, in hexadecimal, from here."
)
@click.option("--key-version", metavar="V", help="Which key; default: the greatest version.")
@click.option(
    "--expires-in", type=click.IntRange(1), metavar="SECONDS", help=f"Default: {_VALID_S}."
)
@click.option("--expires", type=click.IntRange(0), metavar="UNIX", help="Seconds since the epoch.")
@click.option("--json", "as_json", is_flag=True, help="Say it for programs.")
def sign(
    url: str,
    config: str | None,
    secret_file: str | None,
    key_version: str | None,
    expires_in: int | None,
    expires: int | None,
    as_json: bool,
) -> None:
    """Print URL with a signature: for its host and object, any part of it, until its end."""
    from ocaserve.signing import sign_url

    if (config is None) == (secret_file is None):
        raise click.UsageError("name one of --config and --secret-file")
    if expires is not None and expires_in is not None:
        raise click.UsageError("name only one of --expires-in and --expires")
    if secret_file is not None and key_version is None:
        raise click.UsageError("with --secret-file, name the --key-version")
    if expires is None:
        expires = int(time.time()) + (expires_in or _VALID_S)
    try:
        if config is not None:
            key = _key_of_config(config, key_version, url)
        else:
            key = _Key(key_version or "", _read_secret(secret_file or ""), True)
        signed = sign_url(
            url, version=key.version, secret=key.secret, expires=expires,
            has_speedtest=key.has_speedtest,
        )  # fmt: skip
    except OcaserveError as error:
        fail(error)
    except ValueError as error:
        fail(SigningError(str(error)))
    facts = {"url": signed, "expires": expires, "key_version": key.version}
    click.echo(json.dumps(facts) if as_json else signed)


def _key_of_config(config: str, version: str | None, url: str) -> _Key:
    """The key, after a look at whether the appliance would take it for this URL."""
    from ocaserve.settings import load_settings
    from ocaserve.settings.signing import newest_version
    from ocaserve.signing import host_of

    settings = load_settings(config)
    signing = settings.signing
    if not signing.keys:
        raise SigningError(f"{config}: has no key in [signing]")
    version = version or newest_version(signing)
    if version not in signing.keys:
        known = ", ".join(sorted(signing.keys))
        raise SigningError(f"{config}: signing.keys has no version {version!r}; it has {known}")
    hosts = [host.lower() for host in signing.hosts]
    if hosts and host_of(url) not in hosts:
        raise SigningError(f"{url!r}: its host must be one of signing.hosts: {', '.join(hosts)}")
    return _Key(version, bytes.fromhex(signing.keys[version]), settings.serve.speedtest)


def _read_secret(file: str) -> bytes:
    """A secret from a file that holds nothing else; no error shows what it holds."""
    try:
        return bytes.fromhex(Path(file).read_text(encoding="ascii").strip())
    except OSError as error:
        raise SigningError(f"{file}: {error.strerror}") from error
    except ValueError:  # which UnicodeDecodeError is too
        raise SigningError(f"{file}: must hold a secret in hexadecimal") from None

"""`sign`: a URL that only who has the key can make."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import click
from click.core import ParameterSource

from ocaserve.cli.options import config_option, find_config, json_option, span, typed
from ocaserve.cli.output import fail
from ocaserve.errors import OcaserveError, SigningError

_VALID = "12h"  # the longest film, paused over dinner


class _Key(NamedTuple):
    version: str
    secret: bytes
    has_speedtest: bool


@click.command()
@click.argument("url")
@config_option("Take the keys from here.")
@click.option(
    "--secret-file", type=click.Path(dir_okay=False), help="Or one key, in hexadecimal, from here."
)
@click.option("--key-version", metavar="V", help="Which key; default: the greatest version.")
@click.option(
    "--expires-in",
    callback=typed(span),
    metavar="SPAN",
    default=_VALID,
    show_default=True,
    help="For how long it is good: 90m, 12h, 7d, or seconds.",
)
@click.option("--expires", type=click.IntRange(0), metavar="UNIX", help="Seconds since the epoch.")
@click.option(
    "--folder", metavar="KEY", help="For all objects of this folder, such as film/1, by the path."
)
@json_option
def sign(
    url: str,
    config: str | None,
    secret_file: str | None,
    key_version: str | None,
    expires_in: timedelta,
    expires: int | None,
    folder: str | None,
    as_json: bool,
) -> None:
    """Print URL with a signature: for its host and object, any part of it, until its end."""
    from ocaserve.signing import sign_folder, sign_url

    if secret_file is None:
        config = find_config(config)
    if (config is None) == (secret_file is None):
        raise click.UsageError("name one of --config and --secret-file")
    context = click.get_current_context()
    is_given = context.get_parameter_source("expires_in") is not ParameterSource.DEFAULT
    if expires is not None and is_given:
        raise click.UsageError("name only one of --expires-in and --expires")
    if secret_file is not None and key_version is None:
        raise click.UsageError("with --secret-file, name the --key-version")
    if expires is None:
        expires = int(time.time() + expires_in.total_seconds())
    try:
        if config is not None:
            key = _key_of_config(config, key_version, url)
        else:
            key = _Key(key_version or "", _read_secret(secret_file or ""), True)
        if folder is not None:
            signed = sign_folder(
                url, folder, version=key.version, secret=key.secret, expires=expires
            )
        else:
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
    from ocaserve.checking import load_settings
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

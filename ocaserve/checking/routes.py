"""What `[bgp]` names: files, and an account. Without them there are fewer routes, or none."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

import msgspec

from ocaserve.checking.secrets import find_private_faults
from ocaserve.findings import Finding, Severity
from ocaserve.settings import Settings
from ocaserve.settings.bgp import Bgp, read_md5_key


def find_route_faults(settings: Settings) -> Iterator[Finding]:
    """What is wrong with each of them."""
    bgp = settings.bgp
    yield from _find_user_faults(bgp.user)
    if not bgp.neighbor:
        yield from _find_absent("bgp.recording", bgp.recording)
    yield from _find_absent("bgp.rpki_vrps", bgp.rpki_vrps)
    yield from _find_key_faults(bgp)


def without_strangers(settings: Settings) -> Settings:
    """Without routers where nobody can speak with them: ExaBGP is never run as root instead."""
    if _is_account(settings.bgp.user):
        return settings
    bgp = msgspec.structs.replace(settings.bgp, neighbor=[])
    return msgspec.structs.replace(settings, bgp=bgp)


def _is_account(user: str) -> bool:
    if not user or os.geteuid():  # it is not looked at
        return True
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _find_user_faults(user: str) -> Iterator[Finding]:
    if not _is_account(user):
        why = "there is no such account, and so no BGP"
        yield Finding("bgp.user", why, repr(user), severity=Severity.DEGRADED)


def _find_absent(key: str, file: str) -> Iterator[Finding]:
    """A file that another program may still be about to write."""
    if file and not (os.path.isfile(file) and os.access(file, os.R_OK)):
        allowed = "a file that can be read"
        yield Finding(key, "", repr(file), allowed, Severity.DEGRADED)


def _find_key_faults(bgp: Bgp) -> Iterator[Finding]:
    for place, neighbor in enumerate(bgp.neighbor):
        if not neighbor.md5_file:
            continue
        key = f"bgp.neighbor[{place}].md5_file"
        faults = list(find_private_faults(key, neighbor.md5_file))
        try:
            read_md5_key(neighbor.md5_file)
        except OSError:  # found above
            pass
        except ValueError as error:
            value = repr(neighbor.md5_file)
            faults.append(Finding(key, str(error), value, severity=Severity.DEGRADED))
        yield from faults

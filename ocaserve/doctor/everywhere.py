"""Checks of every system: the programs, the clock, the stores."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import metadata

from ocaserve.doctor.checks import Check, HostSource, Rule
from ocaserve.doctor.needs import Needs
from ocaserve.doctor.rules import at_least, one_of, version_at_least

_DROP_INS = "/etc/systemd/system/ocaserve.service.d"
_RESTART = "systemctl daemon-reload && systemctl restart ocaserve"
_NONE = Rule("none", lambda text: text.startswith("0 of "))


def common_checks(needs: Needs, *, is_freebsd: bool) -> Sequence[Check]:
    """What is read is the same; the commands are not."""
    return (
        *_exabgp(),
        *_surroundings(is_freebsd),
        *(_tls(is_freebsd) if needs.kernel_tls else ()),
        *_stores(needs),
        *(_fill(needs, is_freebsd) if needs.fills else ()),
        *(_locked_memory(needs, is_freebsd) if needs.pinned_bytes else ()),
        _descriptors(needs, is_freebsd),
    )


def pinned(distribution: str) -> str:
    """The version that this package pins, as its own metadata has it. Raises LookupError."""
    for requirement in metadata.requires("ocaserve") or ():
        found = re.fullmatch(rf"{distribution}==([\d.]+)(?:\s*;.*)?", requirement)
        if found:
            return found.group(1)
    raise LookupError(f"{distribution} is not pinned")


def _exabgp() -> Sequence[Check]:
    version = pinned("exabgp")
    install = f"{sys.executable} -m pip install exabgp=={version}"
    source = HostSource("distribution", "exabgp")
    return (
        Check(
            "exabgp",
            source,
            version_at_least(5, 0, 13),
            "a BGP peer can write events of its own into what the appliance learns, and can crash "
            "the process that hears routes: both closed in 5.0.13",
            install,
        ),
        Check(
            "exabgp-pinned",
            source,
            one_of(version),
            "the form of ExaBGP's messages changes between versions; another one is not tested",
            install,
        ),
    )


def _surroundings(is_freebsd: bool) -> Sequence[Check]:
    return (
        Check(
            "clock",
            HostSource("clock"),
            one_of("synchronised"),
            "signed URLs expire too early or too late, certificates seem invalid, reports of "
            "several appliances do not fit together",
            "sysrc ntpd_enable=YES && service ntpd start"
            if is_freebsd
            else "apt-get install systemd-timesyncd && timedatectl set-ntp true",
        ),
        Check(
            "time-zones",
            HostSource("time-zones"),
            at_least(1, "zones"),
            "a fill window in local time cannot be computed",
            "tzsetup" if is_freebsd else "apt-get install tzdata",
        ),
        Check(
            "ipv6",
            HostSource("ipv6"),
            one_of("an address"),
            "clients that prefer IPv6 are steered to another appliance, whatever routes are "
            "announced for them here",
            "sysrc ifconfig_DEVICE_ipv6='inet6 PREFIX::10/64'"
            if is_freebsd
            else "ip -6 address add PREFIX::10/64 dev DEVICE",
        ),
    )


def _tls(is_freebsd: bool) -> Sequence[Check]:
    return (
        Check(
            "tls-library",
            HostSource("openssl"),
            version_at_least(3, 0),
            "keys cannot be handed to the kernel, so workers encrypt: about eight times the "
            "processor time for each byte",
            "pkg upgrade openssl" if is_freebsd else "apt-get install --only-upgrade libssl3",
        ),
    )


def _stores(needs: Needs) -> Sequence[Check]:
    own = f"chown -R {needs.user}: {{subject}}"
    return (
        Check(
            "store-owner",
            HostSource("store", "owned by others"),
            _NONE,
            "the kernel tells only the owner of a file which of its pages are in memory, so every "
            "send of another user's file goes through a thread: a third slower, measured",
            own,
        ),
        Check(
            "store-readable",
            HostSource("store", "unreadable"),
            _NONE,
            "clients hear that these objects are not there",
            f"{own} && chmod -R u+rX {{subject}}",
        ),
    )


def _fill(needs: Needs, is_freebsd: bool) -> Sequence[Check]:
    by_user = Check(
        "fill-store",
        HostSource("store", "writable by the user"),
        one_of("yes"),
        "nothing can be fetched into this store",
        f"chown {needs.user}: {{subject}} && chmod u+rwx {{subject}}",
    )
    if is_freebsd:
        return (by_user,)
    by_unit = Check(
        "fill-unit",
        HostSource("store", "writable by the unit"),
        one_of("yes"),
        "the service manager shows the store read-only: nothing can be fetched into it",
        f"mkdir -p {_DROP_INS} && printf '[Service]\\nReadOnlyPaths=\\nReadWritePaths=%s\\n'"
        f" {{subject}} >> {_DROP_INS}/fill.conf && {_RESTART}",
    )
    return by_user, by_unit


def _locked_memory(needs: Needs, is_freebsd: bool) -> Sequence[Check]:
    linux = (
        f"mkdir -p {_DROP_INS} && printf '[Service]\\nLimitMEMLOCK=infinity\\n'"
        f" > {_DROP_INS}/memory.conf && {_RESTART}"
    )
    freebsd = "sysrc ocaserve_limits='-l infinity' && service ocaserve restart"
    less = "fewer of the most wanted objects stay in memory than `serve.pinned_bytes` says"
    folder = "/usr/local/etc/ocaserve" if is_freebsd else "/etc/ocaserve"
    least = needs.pinned_bytes
    return (
        Check(
            "locked-memory",
            HostSource("limit", "locked-memory"),
            at_least(least, "bytes"),
            less,
            freebsd if is_freebsd else linux,
        ),
        Check(
            "lockable-memory",
            HostSource("lockable-memory"),
            at_least(least, "bytes in half of the memory"),
            f"no more than half of it is locked: {less}",
            f"editor {folder}/ocaserve.toml && ocaserve reload",
        ),
    )


def _descriptors(needs: Needs, is_freebsd: bool) -> Check:
    linux = (
        f"mkdir -p {_DROP_INS} && printf '[Service]\\nLimitNOFILE={needs.descriptors}\\n'"
        f" > {_DROP_INS}/limits.conf && {_RESTART}"
    )
    freebsd = f"sysrc ocaserve_limits='-n {needs.descriptors}' && service ocaserve restart"
    return Check(
        "descriptors",
        HostSource("limit", "descriptors"),
        at_least(needs.descriptors),
        "connections are refused and files not opened, long before memory or network is used up",
        freebsd if is_freebsd else linux,
    )

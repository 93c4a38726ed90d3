"""Checks of every system: the programs, the clock, the stores."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib import metadata

from ocaserve.doctor.checks import Check, Rule, Source
from ocaserve.doctor.needs import Needs
from ocaserve.doctor.rules import at_least, one_of, version_at_least

_NONE = Rule("none", lambda text: text.startswith("0 of "))


def common_checks(needs: Needs, *, is_freebsd: bool) -> Sequence[Check]:
    """What is read is the same; the commands are not."""
    return (
        *_exabgp(),
        *_surroundings(is_freebsd),
        *(_tls(is_freebsd) if needs.kernel_tls else ()),
        *_stores(needs),
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
    source = Source("distribution", "exabgp")
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
            Source("clock"),
            one_of("synchronised"),
            "signed URLs expire too early or too late, certificates seem invalid, reports of "
            "several appliances do not fit together",
            "sysrc ntpd_enable=YES && service ntpd start"
            if is_freebsd
            else "apt-get install systemd-timesyncd && timedatectl set-ntp true",
        ),
        Check(
            "time-zones",
            Source("time-zones"),
            at_least(1, "zones"),
            "a fill window in local time cannot be computed",
            "tzsetup" if is_freebsd else "apt-get install tzdata",
        ),
        Check(
            "ipv6",
            Source("ipv6"),
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
            Source("openssl"),
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
            Source("store", "owned by others"),
            _NONE,
            "the kernel tells only the owner of a file which of its pages are in memory, so every "
            "send of another user's file goes through a thread: a third slower, measured",
            own,
        ),
        Check(
            "store-readable",
            Source("store", "unreadable"),
            _NONE,
            "clients hear that these objects are not there",
            f"{own} && chmod -R u+rX {{subject}}",
        ),
    )


def _descriptors(needs: Needs, is_freebsd: bool) -> Check:
    folder = "/etc/systemd/system/ocaserve.service.d"
    linux = (
        f"mkdir -p {folder} && printf '[Service]\\nLimitNOFILE={needs.descriptors}\\n'"
        f" > {folder}/limits.conf && systemctl daemon-reload && systemctl restart ocaserve"
    )
    freebsd = f"sysrc ocaserve_limits='-n {needs.descriptors}' && service ocaserve restart"
    return Check(
        "descriptors",
        Source("limit", "descriptors"),
        at_least(needs.descriptors),
        "connections are refused and files not opened, long before memory or network is used up",
        freebsd if is_freebsd else linux,
    )

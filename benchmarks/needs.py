"""What has to be there before anything is measured. A run that cannot be whole is not begun."""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.errors import Refusal
from benchmarks.peers import PEERS, Peer
from benchmarks.scenarios import Scenario
from benchmarks.stage import Plan

_PACKAGES = {"wrk": "wrk", "nginx": "nginx-light", "strace": "strace", "openssl": "openssl"}
_HIGHEST_PORT = 65_535


def check(scenarios: Iterable[Scenario], plan: Plan, scratch: Path, base_port: int) -> None:
    """Raise Refusal, with all that is missing at once, if these scenarios cannot be played here."""
    chosen = list(scenarios)
    problems = [
        *wrong_system(sys.platform),
        *missing_programs(needed_programs(chosen)),
        *missing_modules(module for peer in peers_of(chosen) for module in peer.modules),
        *too_few_cores(len(os.sched_getaffinity(0))),
        *busy_ports(port for peer in peers_of(chosen) for port in peer.ports(base_port).values()),
        *too_little_space(scratch, plan.disk_bytes),
        *too_few_descriptors(max(each.load.descriptors(plan) for each in chosen)),
    ]
    if problems:
        raise Refusal(problems)


def peers_of(scenarios: Iterable[Scenario]) -> list[Peer]:
    """The servers that take part."""
    return [PEERS[name] for name in dict.fromkeys(name for one in scenarios for name in one.peers)]


def needed_programs(scenarios: Iterable[Scenario]) -> list[str]:
    """The programs that clients and servers are, or are watched with."""
    chosen = list(scenarios)
    loads = [program for scenario in chosen for program in scenario.load.traits.programs]
    servers = [program for peer in peers_of(chosen) for program in peer.programs]
    return list(dict.fromkeys(loads + servers))


def wrong_system(platform: str) -> Iterator[str]:
    """CPU time, memory and cores are read and set in Linux's ways."""
    if platform != "linux":
        yield f"the benchmarks need Linux (/proc, control groups); this is {platform}"


def missing_programs(programs: Iterable[str]) -> Iterator[str]:
    """Those that the PATH has not."""
    for program in programs:
        if shutil.which(program) is None:
            package = _PACKAGES.get(program, program)
            yield f"{program} is missing: apt-get install {package} (or: pkg install {program})"


def missing_modules(modules: Iterable[str]) -> Iterator[str]:
    """Those that this Python has not."""
    for module in dict.fromkeys(modules):
        if importlib.util.find_spec(module) is None:
            yield f"the Python module {module} is missing: pip install {module}"


def too_few_cores(cores: int) -> Iterator[str]:
    """Server and clients would take turns on one, and each look like the other."""
    if cores < 2:
        yield f"two cores are needed, one for the server and one for the clients; this has {cores}"


def busy_ports(ports: Iterable[int]) -> Iterator[str]:
    """Those that somebody else listens on, or that there cannot be."""
    for port in ports:
        if port > _HIGHEST_PORT:
            yield f"port {port}: the highest is {_HIGHEST_PORT}; choose a lower --port"
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                yield f"port {port} on 127.0.0.1: {error.strerror}; choose others with --port"


def too_little_space(folder: Path, needed_bytes: int) -> Iterator[str]:
    """For objects and logs."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        yield (
            f"{folder}: {free >> 20:,} MiB free, {needed_bytes >> 20:,} MiB needed;"
            " choose another disk with --scratch"
        )


def too_few_descriptors(needed: int) -> Iterator[str]:
    """Each connection takes one in the server and one in the client."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        yield f"{needed} open files are needed, {hard} allowed: raise the hard limit (ulimit -Hn)"

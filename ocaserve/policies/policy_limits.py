"""What a policy may take, and what is made of one that takes more: each limit with its reason."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from ocaserve.schema import number


class PolicyLimits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of each program, and of the process that runs them."""

    files: Annotated[int, number("files", 1, 1_000, "of a bundle: one program and its library")] = (
        32
    )
    bundle_bytes: Annotated[
        int, number("bytes", 1, 1 << 24, "of a bundle; each instance holds those in force")
    ] = 256 << 10
    servers: Annotated[
        int, number("servers", 1, 10_000, "of a question; among more the built-in rule decides")
    ] = 256
    answer_cpu_s: Annotated[
        float,
        number("seconds", 0.0001, 10, "of the processor, for one answer; most take 0.0002"),
    ] = 0.005
    test_cpu_s: Annotated[
        float, number("seconds", 0.001, 60, "of the processor, to load a bundle, and for a test")
    ] = 1.0
    depth: Annotated[
        int, number("calls", 1, 10_000, "within each other: a stack has an end, and no warning")
    ] = 64
    memory_bytes: Annotated[
        int,
        number(
            "bytes", 1 << 20, 1 << 40,
            "of address space: an operation on a string asks nobody, so the kernel has to refuse",
        ),
    ] = 256 << 20  # fmt: skip
    wait_s: Annotated[
        float,
        number("seconds", 0.0001, 10, "that a decision waits for an answer that is not in memory"),
    ] = 0.010
    silence_s: Annotated[
        float,
        number(
            "seconds", 0.001, 60,
            "without an answer, then the process is killed: it is in an operation that has no end",
        ),
    ] = 0.25  # fmt: skip
    start_s: Annotated[
        float, number("seconds", 0.1, 600, "to begin; a process that needs longer is another's")
    ] = 10.0
    memo_bytes: Annotated[
        int, number("bytes", 1 << 16, 1 << 40, "of answers that are kept: some 100,000")
    ] = 64 << 20
    faults: Annotated[
        int, number("faults", 1, 1_000, "within a minute, then the policy is switched off")
    ] = 5


LIMITS = PolicyLimits()

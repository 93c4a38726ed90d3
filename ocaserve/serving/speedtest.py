"""The content of the speed test as a file, so that it takes the same way as any object."""

from __future__ import annotations

import os
import tempfile
from asyncio import AbstractEventLoop

from ocaserve.protocol.planning import ResponsePolicy
from ocaserve.protocol.speedtest import describe_content, make_stretch
from ocaserve.protocol.target import SPEEDTEST_KEY
from ocaserve.serving.catalogue import Identity, OpenFile, Store
from ocaserve.serving.residency import Residency, can_tell_residency


def open_speedtest(loop: AbstractEventLoop, policy: ResponsePolicy) -> OpenFile:
    """The stretch of which the content consists, open; it stays so. Raises OSError.

    Its plans are to be folded (`protocol.speedtest.fold_plan`): it is shorter than what its
    representation says.
    """
    stretch = make_stretch()
    descriptor = _nameless_file(stretch)
    store = Store(tempfile.gettempdir(), loop, 1)
    store.is_local = True  # the file has no name, so no server is asked for it
    residency = Residency(descriptor, len(stretch)) if can_tell_residency() else None
    file = OpenFile(
        store, SPEEDTEST_KEY, descriptor, Identity.of(os.fstat(descriptor)),
        describe_content(policy), residency, None,
    )  # fmt: skip
    file.refs = 1  # the worker's own
    return file


def _nameless_file(content: bytes) -> int:
    """A file in memory where the system has such, else one without a name; its descriptor."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("ocaserve-speedtest")
    else:
        with tempfile.TemporaryFile(buffering=0) as file:
            descriptor = os.dup(file.fileno())
    os.write(descriptor, content)
    return descriptor

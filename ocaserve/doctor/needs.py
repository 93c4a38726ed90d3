"""What the appliance asks of its host, as numbers taken from its settings."""

from __future__ import annotations

from dataclasses import dataclass

from ocaserve.settings import Settings
from ocaserve.sockets import BACKLOG

_SPARE_DESCRIPTORS = 64  # listeners, logs, the event loop's own


@dataclass(frozen=True)
class Needs:
    """Defaults are those of the settings."""

    user: str = "ocaserve"  # that the appliance runs as
    workers: int = 1
    connections: int = 20_000  # of one worker
    open_files: int = 1_024  # of one worker, between responses
    step_bytes: int = 1_048_576
    backlog: int = BACKLOG
    sets_lowat: bool = False  # each socket gets a TCP_NOTSENT_LOWAT of its own
    kernel_tls: bool = False  # TLS is served, and the kernel may encrypt it
    fills: bool = False  # objects are brought into the stores
    pinned_bytes: int = 0  # of objects, to be locked in memory

    @classmethod
    def of(cls, settings: Settings, user: str) -> Needs:
        """What these settings ask for."""
        serve = settings.serve
        return cls(
            user=user,
            workers=settings.worker_count,
            connections=serve.limits.connections,
            open_files=serve.open_files,
            step_bytes=serve.step_bytes,
            sets_lowat=serve.notsent_lowat_bytes > 0,
            fills=settings.fill.is_on,
            pinned_bytes=serve.pinned_bytes,
            kernel_tls=bool(settings.tls.listen) and settings.tls.ktls != "off",
        )

    @property
    def mappings(self) -> int:
        """Of one worker: each file that is open has one, and a response may have a file alone."""
        return self.connections + self.open_files

    @property
    def descriptors(self) -> int:
        """Of one worker: a socket and a file for each connection, and files kept open."""
        return 2 * self.connections + self.open_files + _SPARE_DESCRIPTORS

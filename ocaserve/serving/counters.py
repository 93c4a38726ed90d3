"""The names of a worker's counters and gauges, and their places in its slot of the shared map.

A place is a plain integer constant, so that the hot path counts with one indexed addition.
"""

from __future__ import annotations

from enum import IntEnum

from ocaserve.serving.closing import CloseReason
from ocaserve.serving.histograms import HISTOGRAM_COUNTERS, WIDTH, Histogram


class Count(IntEnum):
    """Counters: they only grow. Bytes are bytes of body accepted by the socket.

    BYTES_UPLOADED: bytes of bodies received that an answerer wanted. DEFECTS: exceptions
    that no code expected; each ended at most the client that met it.
    """

    ACCEPTED = 0
    REQUESTS = 1
    RESPONSES_2XX = 2
    RESPONSES_3XX = 3
    RESPONSES_4XX = 4
    RESPONSES_5XX = 5
    BYTES_SENDFILE_HOT = 6
    BYTES_SENDFILE_COLD = 7
    BYTES_KTLS = 8
    BYTES_COPIED = 9
    COLD_READS = 10
    LOOKUPS = 11
    LOOKUP_MISSES = 12
    STORE_ERRORS = 13
    FILES_REPLACED = 14
    LOG_LINES = 15
    LOG_LINES_DROPPED = 16
    ACCEPT_ERRORS = 17
    SIGNATURES_REFUSED = 18
    BYTES_UPLOADED = 19
    TLS_HANDSHAKES = 20
    TLS_RESUMED = 21  # of the handshakes
    TLS_CERTIFICATES_READ = 22
    TLS_CERTIFICATE_FAULTS = 23
    DEFECTS = 24
    LOOKUPS_REFUSED = 25
    OBJECTS_UNREADABLE = 26
    MISSES_REDIRECTED = 27


class Gauge(IntEnum):
    """Gauges: what is so right now. Their places follow those of the counters."""

    CONNECTIONS = 0
    OPEN_FILES = 1
    STORES_FAILED = 2
    LOOP_LAG_US = 3
    RESPONDING = 4
    TLS_HANDSHAKING = 5


STORE_BYTES = "store_bytes"
"""Family of counters, one for each store: bytes of body that came from it."""
STORE_COLUMNS = 64  # more stores than a machine has disks; the last is shared by all beyond


class StoreGauge(IntEnum):
    """Families of gauges, one for each store: its state, and which folder is held.

    STATE: `stores.judging.StoreState`; 0 before the first look.
    """

    STATE = 0
    DEVICE = 1
    INODE = 2


COUNTERS: tuple[str, ...] = (
    *(count.name.lower() for count in Count),
    *(f"close_{reason.label}" for reason in CloseReason),
    *HISTOGRAM_COUNTERS,
    *(f"{STORE_BYTES}_{column}" for column in range(STORE_COLUMNS)),
)
GAUGES: tuple[str, ...] = (
    *(gauge.name.lower() for gauge in Gauge),
    *(
        f"store_{gauge.name.lower()}_{column}"
        for gauge in StoreGauge
        for column in range(STORE_COLUMNS)
    ),
)

CLOSE_PLACES: dict[CloseReason, int] = {
    reason: len(Count) + place for place, reason in enumerate(CloseReason)
}
_FIRST_HISTOGRAM = len(Count) + len(CloseReason)
HISTOGRAM_PLACES: dict[Histogram, int] = {
    histogram: _FIRST_HISTOGRAM + WIDTH * histogram for histogram in Histogram
}
FIRST_STORE_PLACE = _FIRST_HISTOGRAM + WIDTH * len(Histogram)
GAUGE_PLACES: dict[Gauge, int] = {gauge: len(COUNTERS) + gauge for gauge in Gauge}


def store_gauge_place(gauge: StoreGauge, column: int) -> int:
    """Where the gauge of one store stands; `column` is its own in the families by store."""
    return len(COUNTERS) + len(Gauge) + gauge * STORE_COLUMNS + column

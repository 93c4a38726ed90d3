"""All that is counted is shown, and named in the documents as it is."""

from __future__ import annotations

import re
from pathlib import Path

from aiohttp import web

from ocaserve.control.metrics_reference import describe_metrics
from ocaserve.control.reference import sample_application
from ocaserve.control.state import STATE
from ocaserve.serving.closing import CloseReason
from ocaserve.serving.counters import COUNTERS, GAUGES, STORE_BYTES

PAGE = Path(__file__).parent.parent.parent / "docs" / "metrics.md"
SHOWN_OTHERWISE = {
    "loop_lag_us",  # each worker's own, in /v1/workers; over time the histogram of this name
    "response_bytes_sum",  # the same bytes are counted by the way they took
}
SUMS = {name for name in COUNTERS if name.endswith("_us_sum")}


async def show(app: web.Application) -> dict[str, list[float]]:
    """Each metric's samples, of an application that runs for a moment."""
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        return {
            metric.name: [sample.value for sample in metric.samples]
            for metric in app[STATE].registry.collect()
        }
    finally:
        await runner.cleanup()


async def test_all_that_is_counted_is_shown() -> None:
    """Each counter and gauge is given a value that nothing else has, and that value is there."""
    with sample_application() as app:
        counters = app[STATE].counters
        counters.assign(STORE_BYTES, ["/disk"])
        values = counters.slot(0).values
        names = counters.counters + counters.gauges
        given = {}
        for place, name in enumerate(names):
            is_by_bucket = re.search(r"_\d+$", name) and name != f"{STORE_BYTES}_0"
            if not is_by_bucket:
                given[name] = values[place] = (1 << 40) + 7 * place
        shown = {value for samples in (await show(app)).values() for value in samples}
        # Sums are shown in seconds, some of them two together.
        missing = {name for name, value in given.items() if value not in shown} - SUMS
        assert missing == SHOWN_OTHERWISE
        assert len(given) > len(CloseReason) + 20


def test_page_is_as_the_code_says() -> None:
    """docs/metrics.md is what `python -m ocaserve.control.metrics_reference` prints."""
    assert PAGE.read_text() == describe_metrics()


def test_all_names_are_told() -> None:
    """Also of what the workers count, in the words that the documents use."""
    page = PAGE.read_text()
    for name in (
        "signatures_refused", "uploaded_bytes", "tls_handshakes", "tls_resumed",
        "tls_certificate_faults", "connections_closed", "ledger_other_bytes", "control_refused",
    ):  # fmt: skip
        assert f"`ocaserve_{name}_total`" in page
    for name in (
        "capacity_bytes_per_second", "store_free_bytes", "certificate_expiry_timestamp_seconds",
    ):  # fmt: skip
        assert f"`ocaserve_{name}`" in page
    assert len(GAUGES) > 5

"""Rates and shares over the last seconds."""

from __future__ import annotations

from ocaserve.control.traffic import Traffic


def test_before_there_are_two_samples() -> None:
    traffic = Traffic()
    assert (traffic.bits_per_s, traffic.shares, traffic.connections) == (0.0, {}, 0)
    traffic.sample({"requests": 5}, 1.0)
    assert traffic.per_s("requests") == 0.0


def test_rates_and_shares() -> None:
    traffic = Traffic()
    traffic.sample({"requests": 10, "bytes_ktls": 100, "connections": 1}, 1.0)
    traffic.sample(
        {"requests": 30, "bytes_ktls": 175, "bytes_sendfile_cold": 25, "connections": 7}, 3.0
    )
    assert traffic.per_s("requests") == 10.0
    assert traffic.bits_per_s == 8 * 50.0
    assert traffic.shares == {
        "sendfile_hot": 0.0, "sendfile_cold": 0.25, "ktls": 0.75, "copied": 0.0,
    }  # fmt: skip
    assert traffic.connections == 7


def test_old_samples_are_forgotten() -> None:
    traffic = Traffic()
    for second in range(60):
        traffic.sample({"requests": 1000 if second < 30 else 1000 + second}, float(second))
    assert traffic.per_s("requests") == 1.0

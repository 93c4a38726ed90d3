"""Origins: which URLs are of one server, and for how long a server is left alone."""

from __future__ import annotations

from ocaserve.origins import Fault, Strikes, origin_of

URL = "http://oca-1:8080/a"


def test_origins() -> None:
    """Ports that are left out are those of the scheme."""
    assert origin_of("http://a/b") == origin_of("http://A:80/c?d") == "http://a:80"
    assert origin_of("https://a/") == "https://a:443"
    assert origin_of("http://[::1]:8080/a") == "http://[::1]:8080"


def test_pauses_double_and_end() -> None:
    """5, 10, 20 s, and never more than five minutes."""
    strikes = Strikes()
    pauses = [strikes.add(URL, Fault.CUT, "", 0.0).until for _ in range(40)]
    assert pauses[:3] == [5, 10, 20]
    assert max(pauses) == pauses[-1] == 300


def test_one_good_answer_clears() -> None:
    strikes = Strikes()
    strikes.add(URL, Fault.CUT, "3 bytes", 100.0)
    assert strikes.counts("http://oca-1:8080/other", 104.9)
    assert not strikes.counts(URL, 105.0)
    assert strikes.of(URL).last == "cut: 3 bytes"
    strikes.clear(URL)
    assert strikes.of(URL).strikes == 0
    assert list(strikes.running(0.0)) == []

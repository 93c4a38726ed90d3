"""The page and the plot."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks.plot import Point, render_plot
from benchmarks.report import Run, lines_of_plot, render, summary
from benchmarks.results import Bar, Results, Sample

RUN = Run(
    command="python -m benchmarks",
    length="2 rounds of 1 s in 0.1 minutes",
    machine={"processor": "a | b"},
    versions={"nginx": "1.22.1"},
    commands={"nginx": "nginx -c nginx.conf"},
    notes=["objects are not locked in memory: Cannot allocate memory"],
)
BARS = [
    Bar("64k", "cpu_us_per_request", "≤", 1.0),
    Bar("64k", "requests_per_s", "≥", 1.0),
    Bar("cold", "p99_ms", "≤", 1.0, against="nginx-aio"),
]


def results() -> Results:
    samples = [
        Sample("64k", peer, turn, {"cpu_us_per_request": cpu, "requests_per_s": rate})
        for turn in (0, 1)
        for peer, cpu, rate in (("ocaserve", 15.0, 50_000.0), ("nginx", 16.0, 60_000.0))
    ]
    samples.append(Sample("64k", "bare", 0, {}, ("did not come up: address in use",)))
    return Results(samples, {"cold": "no control group governs 'io' here"})


def test_bars_stand_with_their_measured_ratio_and_outcome() -> None:
    page = render(RUN, results(), BARS)
    assert "| 64 KiB | CPU µs/request | nginx | ≤ 1.00 | 0.94 [0.94 to 0.94] | reached |" in page
    assert "| 64 KiB | requests/s | nginx | ≥ 1.00 | 0.83 [0.83 to 0.83] | **missed** |" in page
    assert "| cold beside hot | p99 ms | nginx-aio | ≤ 1.00 | - | not measured |" in page
    assert summary(results(), BARS) == "1 of 2 bars reached"


def test_figures_stand_by_server_with_ours_in_bold() -> None:
    page = render(RUN, results(), BARS)
    assert "| 64 KiB | **ocaserve** | 15.0 | 50,000 | - |" in page
    assert "| 64 KiB | nginx | 16.0 | 60,000 | - |" in page


def test_what_failed_or_was_left_out_is_said() -> None:
    page = render(RUN, results(), BARS)
    assert "* Failed: 64k, bare, round 1: did not come up: address in use." in page
    assert "cold beside hot: not measured: no control group governs 'io' here." in page
    assert "* objects are not locked in memory: Cannot allocate memory." in page
    assert "No sample failed" not in page
    assert "* No sample failed." in render(RUN, Results(), [])


def test_the_machine_is_named_and_no_value_breaks_the_table() -> None:
    page = render(RUN, results(), BARS)
    assert "| processor | a / b |" in page
    assert "| nginx | 1.22.1 |" in page
    assert "* nginx: `nginx -c nginx.conf`" in page


def test_sections_without_samples_are_left_out() -> None:
    page = render(RUN, results(), BARS)
    assert "## Hot ranges" in page
    assert "## Idle connections" not in page


def test_the_plot_has_a_line_for_each_server_that_was_measured() -> None:
    lines = lines_of_plot(results())
    assert lines == {
        "ocaserve": [Point(64 * 1024, 15.0)],
        "nginx": [Point(64 * 1024, 16.0)],
    }
    lines["nginx"].append(Point(1024 * 1024, 70.0))
    drawing = ElementTree.fromstring(render_plot(lines))  # it is XML, or this raises
    names = [title.text for title in drawing.iter("{http://www.w3.org/2000/svg}title")]
    assert names == ["ocaserve", "nginx"]


def test_a_plot_of_nothing_says_so() -> None:
    assert "no hot scenario was played" in render_plot({})

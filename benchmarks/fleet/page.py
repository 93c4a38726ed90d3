"""The page of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby, pairwise

from benchmarks.fleet.drawing import Mark, draw, worst_by_second
from benchmarks.fleet.lines import Line
from benchmarks.fleet.playing import Played
from benchmarks.fleet.stage import Size

_STYLE = """
body{font:15px/1.45 sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:.6em 0}td,th{padding:.15em .8em .15em 0;text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}.bad{color:#c8400f;font-weight:bold}
h2{margin-top:1.6em;border-bottom:1px solid #ddd}code{background:#f4f4f4;padding:0 .2em}
"""


def render_page(
    size: Size, played: Sequence[Played], machine: Mapping[str, str], minutes: float,
    arguments: Sequence[str],
) -> str:  # fmt: skip
    """HTML with all that it needs in it."""
    failed = [each.scenario.name for each in played if not each.is_kept]
    verdict = f'<p class="bad">Not kept: {", ".join(failed)}</p>' if failed else "<p>All kept.</p>"
    command = escape(f"python -m benchmarks.fleet {' '.join(arguments)}".strip())
    facts = "".join(f"<tr><th>{escape(k)}<td>{escape(v)}" for k, v in machine.items())
    return "\n".join([
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>A fleet of {size.appliances:,}</title><style>{_STYLE}</style>",
        f"<h1>A fleet of {size.appliances:,} appliances at {size.sites:,} sites</h1>{verdict}",
        f"<p><code>{command}</code>, {minutes:.1f} minutes. A report each {size.interval_s:g} s,"
        f" an appliance is silent after {size.ttl_s:g} s. Times are those of this machine, with all"
        " that ran on it; the appliances and the clients are one more process there.</p>",
        f"<table>{facts}</table>",
        *_plots(played),
        *(part for each in played for part in _section(each)),
        "</html>\n",
    ])  # fmt: skip


def render_growth(
    rows: Sequence[Mapping[str, float]], plots: Sequence[str], lines: Sequence[Line], failure: str,
    machine: Mapping[str, str], minutes: float, arguments: Sequence[str],
) -> str:  # fmt: skip
    """The page of what more and more appliances cost. rows: a size each, by what was measured."""
    is_kept = not failure and all(line.is_kept for line in lines)
    verdict = "<p>All kept.</p>" if is_kept else f'<p class="bad">Not kept. {escape(failure)}</p>'
    command = escape(f"python -m benchmarks.fleet.growth {' '.join(arguments)}".strip())
    facts = "".join(f"<tr><th>{escape(k)}<td>{escape(v)}" for k, v in machine.items())
    heads = "".join(f"<th>{escape(name.replace('_', ' '))}" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{value:,.6g}' for value in row.values()) for row in rows
    )
    return "\n".join([
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>What appliances cost</title><style>{_STYLE}</style>",
        f"<h1>What more appliances cost the control plane</h1>{verdict}",
        f"<p><code>{command}</code>, {minutes:.1f} minutes. CPU seconds of all its processes.</p>",
        f"<table>{facts}</table>", f"<table><tr>{heads}{body}</table>", *plots,
        "<table>" + "".join(map(_row, lines)) + "</table></html>\n",
    ])  # fmt: skip


def _plots(played: Sequence[Played]) -> Iterator[str]:
    """Over all scenarios of a kind, which follow each other."""
    for kind, group in groupby(played, key=lambda each: each.scenario.kind):
        some = list(group)
        marks = [Mark(each.since, each.scenario.name) for each in some]
        yield f"<h2>{escape(kind.value.capitalize())}</h2>"
        loads = [load for each in some for load in each.loads]
        sites = sorted({name for _, by_site in loads for name in by_site})
        traffic = {
            name: [(at, by_site.get(name, 0.0) / 1e9) for at, by_site in loads] for name in sites
        }
        yield draw("Traffic of the sites that are watched", traffic, marks, "Gbit/s")
        fullest = [(at, share * 100) for each in some for at, share in each.fullest]
        limit = [(at, 105.0) for at, _ in fullest]
        yield draw("The fullest appliance", {"sends": fullest, "105 %": limit}, marks, "%")
        moved = [(at, float(count)) for each in some for at, count in each.moved]
        yield draw("Clients that went on at another server, in all", {"moved": moved}, marks)
        took = worst_by_second([dot for each in some for dot in each.took_ms])
        yield draw("The slowest answer of each second", {"to a client": took}, marks, "ms")
        readings = [reading for each in some for reading in each.readings]
        memory = [(each.at, each.cost.memory_mib) for each in readings]
        yield draw("Memory of the control plane", {"resident": memory}, marks, "MiB")
        busy = [
            (late.at, (late.cost.cpu_s - early.cost.cpu_s) / (late.at - early.at))
            for early, late in pairwise(readings)
            if late.at - early.at > 0.1
        ]
        yield draw("Cores that the control plane uses", {"all its processes": busy}, marks)


def _section(each: Played) -> Iterator[str]:
    yield f"<h2>{escape(each.scenario.name)}: {escape(each.scenario.what)}</h2>"
    yield "<table>" + "".join(map(_row, each.lines)) + "</table>"
    for example in each.examples:
        yield f'<p class="bad">{escape(example)}</p>'


def _row(line: Line) -> str:
    limit = "" if line.limit is None else f"{'≥' if line.is_least else '≤'} {line.limit:,g}"
    mark = "" if line.is_kept else ' class="bad"'
    places = 0 if line.measured == int(line.measured) else 1 if abs(line.measured) >= 10 else 2
    shown = f"{line.measured:,.{places}f}"
    return (
        f'<tr{mark}><td>{escape(line.what)}<td class="n">{shown} {line.unit}<td class="n">{limit}'
    )

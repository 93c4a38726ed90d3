"""Which part may import which: what decides cannot act, and what serves does not manage."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from ocaserve.control.reference import document_api

ROOT = Path(__file__).parent.parent
OURS = ("ocaserve", "bgp", "tests")
ACTING = (
    "aiohttp", "asyncio", "httptools", "logging", "multiprocessing", "os", "pathlib", "psutil",
    "random", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time",
    "uvloop",
)  # fmt: skip


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def find_imports(tree: ast.AST) -> Iterator[str]:
    """Modules that are imported, wherever in the file; `from a import b` is a and a.b."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


TREES = {
    module_of(file): ast.parse(file.read_bytes())
    for package in ("ocaserve", "bgp")
    for file in sorted((ROOT / package).rglob("*.py"))
}
MODULES = {module: frozenset(find_imports(tree)) for module, tree in TREES.items()}


def find_ours(tree: ast.AST) -> Iterator[str]:
    """Modules of ours that are imported; `from a import b` is a.b alone if that is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in TREES)
        elif isinstance(node, ast.ImportFrom) and node.module in TREES:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in TREES else node.module


OURS_IMPORTED = {module: frozenset(find_ours(tree)) for module, tree in TREES.items()}

LAYERS = (
    # What the others are made with, and knows none of them.
    ("ocaserve", "addresses", "daily_window", "errors", "channel", "kernel_tls"),
    (
        "lifecycle",
        "link",
        "local_sockets",
        "logs",
        "metrics",
        "notify",
        "origins",
        "startup",
        "urls",
    ),
    ("findings", "whole_files"),
    # What decides or keeps by itself.
    ("bgp", "host", "protocol", "queue", "stores"),
    ("inventory", "runtime", "schema", "steering"),
    ("policies",),
    ("settings",),
    # What reads the settings.
    ("certificates", "health", "ledger", "signing", "sockets"),
    # What others use of all this: a client; what bills are made of.
    ("bills", "client"),
    # The processes.
    ("serving", "supervisor"),
    ("popularity",),
    ("demo", "fill", "routing"),
    # What shows and examines them.
    ("checking", "control"),
    ("doctor", "fleet"),
    ("cli",),
    ("__main__",),
)
"""From the lowest: a package imports those below its row, and none beside it or above."""


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class Rule(NamedTuple):
    """Modules like `who`, but not like `but`, import nothing of `never` save what is of `save`."""

    who: str
    never: tuple[str, ...]
    save: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


CORE = ("ocaserve.protocol",)
CORE_QUEUE = ("ocaserve.queue",)
PURE_BGP = (
    "bgp.address_families",
    "bgp.attributes",
    "bgp.events",
    "bgp.messages",
    "bgp.notifications",
    "bgp.prefixes",
)
DECIDING_STEERING = ("ocaserve.steering", "ocaserve.errors", "ocaserve.lifecycle", *PURE_BGP)
DECIDING_FLEET = (
    "ocaserve.fleet", "ocaserve.protocol", "bgp.prefixes", "ocaserve.fill.manifest",
    "ocaserve.fill.placement", "ocaserve.policies.rulings", "ocaserve.steering.table_digest",
    "ocaserve.settings.places",  # what an appliance says of itself is judged as its settings are
)  # fmt: skip
DECIDING_POLICIES = ("ocaserve.policies", "ocaserve.schema")
DECIDING_FILL = ("ocaserve.fill", "ocaserve.errors", "ocaserve.origins", "ocaserve.urls")
CLIENT_KNOWS = (
    "ocaserve.client", "ocaserve.errors", "ocaserve.lifecycle", "ocaserve.logs.hiding",
    "ocaserve.origins", "ocaserve.schema", "ocaserve.urls", "ocaserve.whole_files",
)  # fmt: skip

CONTENT = (
    *(
        f"ocaserve.serving.{name}"
        for name in (
            "appliance",
            "catalogue",
            "express",
            "failing",
            "files",
            "freshness",
            "object_gate",
            "healthz",
            "lookups",
            "missing",
            "openers",
            "pages",
            "speed_test",
            "object_stock",
            "store",
            "stored_content",
        )
    ),
    "ocaserve.protocol.admission",
    "ocaserve.protocol.speedtest",
    "ocaserve.protocol.target",
)

RULES = [
    pytest.param(Rule("ocaserve.protocol*", (*OURS, *ACTING), CORE), id="protocol"),
    pytest.param(Rule("ocaserve.logs*", OURS, ("ocaserve.logs",)), id="logs"),
    pytest.param(Rule("ocaserve.logs.hiding", ACTING), id="hiding"),
    pytest.param(Rule("ocaserve.stores*", OURS, ("ocaserve.stores",)), id="stores"),
    pytest.param(Rule("ocaserve.serving.line", (*OURS, *ACTING)), id="serving.line"),
    # The engine knows nothing of what it serves, and asks an answerer; the worker unites both.
    pytest.param(
        Rule("ocaserve.serving.*", CONTENT, but=(*CONTENT, "ocaserve.serving.worker")), id="engine"
    ),
    pytest.param(
        Rule("ocaserve.supervisor*", ("asyncio", "aiohttp", "threading", "uvloop")), id="supervisor"
    ),
    pytest.param(Rule("ocaserve.supervisor.staffing", ACTING), id="supervisor.staffing"),
    pytest.param(Rule("ocaserve*", ("tests",)), id="product"),
    pytest.param(
        Rule(
            "ocaserve*",
            ("bgp",),
            PURE_BGP,
            but=("ocaserve.routing*", "ocaserve.steering*", "ocaserve.settings.bgp"),
        ),
        id="bgp",
    ),
    pytest.param(
        Rule("ocaserve.steering*", (*OURS, *ACTING), DECIDING_STEERING),
        id="steering",
    ),
    *(
        # From socket they take the text of addresses alone: inet_pton and inet_ntop.
        pytest.param(Rule(name, (*OURS, *ACTING), (*PURE_BGP, "socket")), id=name)
        for name in PURE_BGP
    ),
    *(
        pytest.param(Rule(f"bgp.{name}", ACTING), id=f"bgp_{name}")
        for name in ("backlog", "commands", "configuration")
    ),
    # The judgements of health; these three look, and the others are given what they have seen.
    pytest.param(
        Rule(
            "ocaserve.health*",
            ACTING,
            but=(
                "ocaserve.health.certificates",
                "ocaserve.health.monitor",
                "ocaserve.health.store_looks",
            ),
        ),
        id="health",
    ),
    *(
        pytest.param(
            Rule(f"ocaserve.queue.{name}", (*OURS, *ACTING), CORE_QUEUE), id=f"queue.{name}"
        )
        for name in ("contract", "statements", "states")
    ),
    pytest.param(Rule("ocaserve.queue*", OURS, ("ocaserve.queue",)), id="queue"),
    pytest.param(Rule("ocaserve.settings*", ("ssl", "subprocess", "aiohttp")), id="settings"),
    pytest.param(
        Rule("ocaserve.checking*", ("aiohttp", "asyncio", "ocaserve.serving")), id="checking"
    ),
    *(
        pytest.param(Rule(f"ocaserve.{name}", ACTING), id=name)
        for name in ("daily_window", "errors", "findings", "lifecycle", "origins", "schema", "urls")
    ),
    *(
        pytest.param(Rule(f"ocaserve.host.{name}", (*OURS, *ACTING)), id=f"host.{name}")
        for name in ("clock", "host_reading", "sysctl")
    ),
    *(
        pytest.param(
            Rule(f"ocaserve.fill.{name}", (*OURS, *ACTING), DECIDING_FILL), id=f"fill.{name}"
        )
        for name in ("manifest", "pieces", "placement", "planner", "sources", "tally")
    ),
    *(
        pytest.param(
            Rule(f"ocaserve.fleet.{name}", (*OURS, *ACTING), DECIDING_FLEET), id=f"fleet.{name}"
        )
        for name in (
            "allotment",
            "atlas",
            "survey",
            "cascades",
            "client_urls",
            "dash_playlists",
            "decisions",
            "demand",
            "explaining",
            "footprints",
            "grants",
            "hls_playlists",
            "liveness",
            "merging",
            "pathways",
            "planned_manifests",
            "popularity",
            "presence",
            "projections",
            "site_audit",
            "pushed_documents",
            "recorded_decisions",
            "shedding",
            "tables",
            "turn_up",
            "what_if",
            "wishes",
        )
    ),
    *(
        pytest.param(
            Rule(f"ocaserve.policies.{name}", (*OURS, *ACTING, "starlark"), DECIDING_POLICIES),
            id=f"policies.{name}",
        )
        for name in (
            "bundles",
            "policy_limits",
            "lives",
            "questions",
            "releases",
            "rulings",
            "trials",
        )
    ),
    # The language is for the process alone that may be killed.
    pytest.param(
        Rule("ocaserve*", ("starlark",), but=("ocaserve.policies.programs",)), id="starlark"
    ),
    *(
        pytest.param(Rule(f"ocaserve.client.{name}", ACTING), id=f"client.{name}")
        for name in ("course", "limits", "measuring", "opening", "phases", "words")
    ),
    # A player's library needs nothing of an appliance: what decides here is its own.
    pytest.param(Rule("ocaserve.client*", OURS, CLIENT_KNOWS), id="client"),
    *(
        pytest.param(Rule(f"ocaserve.ledger.{name}", ACTING), id=f"ledger.{name}")
        for name in ("book", "folding", "handover", "networks", "records", "set_clock", "tallies")
    ),
    *(
        pytest.param(Rule(f"ocaserve.bills.{name}", ACTING), id=f"bills.{name}")
        for name in ("chains", "gaps", "months", "month_life", "parties", "samples", "taking")
    ),
    pytest.param(Rule("ocaserve.doctor.rules", ACTING), id="doctor.rules"),
]


# -- each module by itself -----------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_imports(rule: Rule) -> None:
    """No module imports what its layer must not know."""
    found = [
        f"{module} imports {imported}"
        for module, imports in MODULES.items()
        if fnmatch(module, rule.who) and not any(fnmatch(module, but) for but in rule.but)
        for imported in sorted(imports)
        if is_within(imported, rule.never) and not is_within(imported, rule.save)
    ]
    assert not found


@pytest.mark.parametrize("rule", RULES)
def test_rules_are_of_what_there_is(rule: Rule) -> None:
    """A rule for modules that do not exist always holds."""
    ours = [each for each in (*rule.never, *rule.save) if each.partition(".")[0] in OURS]
    assert all(each == "tests" or any(is_within(m, (each,)) for m in MODULES) for each in ours)
    for pattern in (rule.who, *rule.but):
        assert any(fnmatch(module, pattern) for module in MODULES), pattern


def test_bgp_imports_itself_and_the_standard_library() -> None:
    """It runs inside of another program's process, with that program's interpreter."""
    found = [
        f"{module} imports {imported}"
        for module, imports in MODULES.items()
        if is_within(module, ("bgp",))
        for imported in sorted(imports)
        if imported.partition(".")[0] not in {"bgp", *sys.stdlib_module_names}
    ]
    assert not found


# -- names -------------------------------------------------------------------------------------

ROOMS = ("checking", "cli", "control.handlers", "control.views", "doctor", "health", "settings")
"""Where a module is named after the subject that it shows, checks, judges or sets."""
BEGINS = "process"  # where a process of its own begins


def find_doubles(names: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Of (name, module): the names that are in several modules, with those."""
    places: dict[str, list[str]] = {}
    for name, module in names:
        places.setdefault(name, []).append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


def test_a_module_has_a_name_of_its_own() -> None:
    """Beside its subject's modules in the rooms; `bgp` is another program."""
    rooms = tuple(f"ocaserve.{room}" for room in ROOMS)
    named = [
        (module.rpartition(".")[2], module)
        for module in MODULES
        if is_within(module, ("ocaserve",)) and not is_within(module, rooms)
        if not any(other.startswith(f"{module}.") for other in MODULES)  # a package
    ]
    doubles = find_doubles(named)
    doubles.pop(BEGINS)
    assert not doubles


def test_a_class_has_a_name_of_its_own() -> None:
    """Of the shapes of the API the users know the names; those are among themselves."""
    shapes = document_api()["components"]["schemas"]
    named = [
        (node.name, module)
        for module, tree in TREES.items()
        for node in ast.iter_child_nodes(tree)
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        if node.name not in shapes
    ]
    assert not find_doubles(named)


def test_doubles_are_found() -> None:
    assert find_doubles([("A", "x"), ("B", "x"), ("A", "y")]) == {"A": ["x", "y"]}


# -- all together --------------------------------------------------------------------------------


def package_of(module: str) -> str:
    """The part that a module belongs to: a package, or a module beside the packages."""
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "ocaserve" and rest else first


def test_layers() -> None:
    """No part imports what stands beside or above it, so no two know each other."""
    row_of = {part: row for row, parts in enumerate(LAYERS) for part in parts}
    assert {package_of(module) for module in MODULES} == row_of.keys()
    found = [
        f"{module} imports {imported}"
        for module, imports in OURS_IMPORTED.items()
        for imported in sorted(imports)
        if package_of(module) != package_of(imported)
        if row_of[package_of(imported)] >= row_of[package_of(module)]
    ]
    assert not found


def find_circle(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Modules of which each imports the one before; none where there is no circle."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def test_no_circles() -> None:
    """Who reads a module need not know one that needs it; late imports and types count too."""
    assert not find_circle(OURS_IMPORTED)


def test_circles_are_found() -> None:
    assert set(find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}})) == {"b", "c"}
    assert not find_circle({"a": {"b"}, "b": {"c"}})


def test_rules_see_imports() -> None:
    """A rule that finds nothing because it looks at nothing would always hold."""
    tree = ast.parse("def f():\n import a.b\n from c import d\n")
    assert set(find_imports(tree)) == {"a.b", "c", "c.d"}
    assert "ocaserve.protocol.messages" in MODULES["ocaserve.protocol.head"]
    assert "ocaserve.cli" in MODULES["ocaserve.__main__"]

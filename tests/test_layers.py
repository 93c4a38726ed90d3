"""Which part may import which: what decides cannot act, and what serves does not manage."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

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


MODULES = {
    module_of(file): frozenset(find_imports(ast.parse(file.read_bytes())))
    for package in ("ocaserve", "bgp")
    for file in sorted((ROOT / package).rglob("*.py"))
}


def is_within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


class Rule(NamedTuple):
    """Modules like `who`, but not like `but`, import nothing of `never` save what is of `save`."""

    who: str
    never: tuple[str, ...]
    save: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


CORE = ("ocaserve.protocol",)
PURE_BGP = ("bgp.messages", "bgp.notifications", "bgp.prefixes")
DECIDING_STEERING = ("ocaserve.steering", "ocaserve.errors", "ocaserve.lifecycle", *PURE_BGP)
DECIDING_FILL = ("ocaserve.fill", "ocaserve.errors")

RULES = [
    pytest.param(Rule("ocaserve.protocol*", (*OURS, *ACTING), CORE), id="protocol"),
    pytest.param(
        Rule("ocaserve.serving*", ("ocaserve.supervisor", "ocaserve.cli", "ocaserve.control")),
        id="serving",
    ),
    pytest.param(
        Rule("ocaserve*", ("ocaserve.cli",), but=("ocaserve.__main__", "ocaserve.cli*")), id="cli"
    ),
    pytest.param(
        Rule("ocaserve.supervisor", ("asyncio", "aiohttp", "threading", "uvloop")), id="supervisor"
    ),
    pytest.param(Rule("ocaserve*", ("tests",)), id="product"),
    pytest.param(
        Rule("ocaserve*", ("bgp",), PURE_BGP, but=("ocaserve.steering*", "ocaserve.settings.bgp")),
        id="bgp",
    ),
    *(
        pytest.param(
            Rule(f"ocaserve.steering.{name}", (*OURS, *ACTING), DECIDING_STEERING), id=name
        )
        for name in (
            "changes",
            "exports",
            "families",
            "filters",
            "lookup",
            "mrt",
            "report",
            "report_schema",
            "rib",
            "rpki",
            "sessions",
        )
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
    *(
        pytest.param(Rule(f"ocaserve.health.{name}", ACTING), id=f"health.{name}")
        for name in ("model", "hysteresis", "judging", "host_components", "capacity", "workers")
    ),
    pytest.param(Rule("ocaserve.host.reading", (*OURS, *ACTING)), id="host.reading"),
    *(
        pytest.param(Rule(f"ocaserve.fill.{name}", (*OURS, *ACTING), DECIDING_FILL), id=name)
        for name in ("manifest", "window", "planner")
    ),
]


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


def test_rules_see_imports() -> None:
    """A rule that finds nothing because it looks at nothing would always hold."""
    tree = ast.parse("def f():\n import a.b\n from c import d\n")
    assert set(find_imports(tree)) == {"a.b", "c", "c.d"}
    assert "ocaserve.protocol.messages" in MODULES["ocaserve.protocol.head"]
    assert "ocaserve.cli" in MODULES["ocaserve.__main__"]

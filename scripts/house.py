"""Figures of the layout: rooms, arrows, loose modules, sizes, and where the tests lie.

Usage: python -m scripts.house. A room is a folder directly in a package, or a module that lies
loose in it; an arrow is an import from one room into another. Exit code 1: a limit is exceeded.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("pipeline", "evals", "launchers")
PLUGINS = "launchers/plugins/"
# One importer is what these are made for: the app, SGLang's loader, a whole program.
WITH_ONE_IMPORTER = ("pipeline/cli/", PLUGINS, "launchers/fake_engine/")


@dataclass(frozen=True)
class Module:
    """A module of the three packages: its path from the root, its name and what it imports."""

    path: str
    name: str
    imports: frozenset[str]
    statements: int
    lines: int
    fmt_skips: int

    @property
    def package(self) -> str:
        """The top folder."""
        return self.path.split("/")[0]

    @property
    def room(self) -> str:
        """The folder directly in the package, or the module itself where it lies loose."""
        return "/".join(self.path.split("/")[:2])

    @property
    def is_face(self) -> bool:
        """Whether it is a package's ``__init__``, which hands on what others define."""
        return self.path.endswith("__init__.py")


@dataclass(frozen=True)
class Figure:
    """One line of the output; ``limit`` None: reported only."""

    name: str
    value: float
    limit: float | None = None
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the value is within its limit."""
        return self.limit is None or self.value <= self.limit

    def __str__(self) -> str:
        value = f"{self.name}: {self.value:g}{self.unit}"
        if self.limit is None:
            return value
        return f"{value} (limit {self.limit:g}{self.unit}) {'holds' if self.holds else 'exceeded'}"


def read_modules(root: Path) -> list[Module]:
    """All modules of the three packages, parsed."""
    paths = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    names = {_name(path.relative_to(root)) for path in paths}
    return [_module(root, path, names) for path in paths]


def _name(path: Path) -> str:
    name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
    return name.removeprefix("launchers.plugins.")


def _module(root: Path, path: Path, names: set[str]) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    return Module(
        path=path.relative_to(root).as_posix(),
        name=_name(path.relative_to(root)),
        imports=frozenset(_imports(tree, names)),
        statements=sum(isinstance(node, ast.stmt) for node in ast.walk(tree)),
        lines=text.count("\n"),
        fmt_skips=text.count("# fmt: skip"),
    )


def _imports(tree: ast.Module, names: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in names:
                    yield full
                elif node.module in names:
                    yield node.module


def arrows(modules: list[Module]) -> set[tuple[str, str]]:
    """Pairs of rooms of one package, the first of which imports the second."""
    rooms = {module.name: module for module in modules}
    return {
        (module.room, rooms[target].room)
        for module in modules
        for target in module.imports
        if rooms[target].package == module.package and rooms[target].room != module.room
    }


def circles(modules: list[Module]) -> list[list[str]]:
    """Groups of modules that import one another in a circle (Tarjan's components above one)."""
    graph = {module.name: sorted(module.imports) for module in modules}
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circle: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in graph[name]:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            at = stack.index(name)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                circle.append(sorted(component))

    for name in graph:
        if name not in order:
            visit(name)
    return circle


def one_importer(modules: list[Module]) -> float:
    """Per cent of modules with exactly one importer, those aside that are made for one."""
    importers: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        for target in module.imports:
            importers[target].add(module.name)
    counted = [
        module
        for module in modules
        if not module.is_face and not module.path.startswith(WITH_ONE_IMPORTER)
    ]
    return 100 * sum(len(importers[module.name]) == 1 for module in counted) / len(counted)


def misplaced_tests(root: Path, modules: list[Module]) -> list[str]:
    """Test files that lie in no folder of the name of a room."""
    rooms = {module.room for module in modules if module.path.count("/") > 1}
    return [
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in sorted((root / "tests" / package).rglob("test_*.py"))
        if "/".join(path.relative_to(root / "tests").parts[:2]) not in rooms
        and not (root / package / path.name.removeprefix("test_")).is_file()
    ]


def figures(root: Path) -> list[Figure]:
    """Every figure of the tree under ``root``."""
    modules = read_modules(root)
    edges = arrows(modules)
    counts: list[Figure] = []
    for package in PACKAGES:
        rooms = {module.room for module in modules if module.package == package}
        rooms -= {f"{package}/__init__.py", f"{package}/__main__.py"}
        loose = [room for room in rooms if room.endswith(".py")]
        counts += [
            Figure(f"{package}: rooms", len(rooms)),
            Figure(f"{package}: arrows", sum(a.startswith(f"{package}/") for a, _ in edges)),
            Figure(
                f"{package}: loose modules", len(loose), {"pipeline": 3, "evals": 5}.get(package)
            ),
        ]
    largest = max(modules, key=lambda module: module.lines)
    return [
        *counts,
        Figure("import circles", len(circles(modules)), 0),
        Figure("modules with one importer", round(one_importer(modules), 1), 35, " %"),
        Figure("fmt: skip in the three packages", sum(m.fmt_skips for m in modules), 10),
        Figure("statements", sum(module.statements for module in modules)),
        Figure("modules", len(modules)),
        Figure(f"lines of the largest file, {largest.path}", largest.lines, 400),
        Figure("tests outside of their room's folder", len(misplaced_tests(root, modules)), 0),
    ]


def main() -> int:
    """Print the figures; 1 where a limit is exceeded."""
    found = figures(ROOT)
    print(*found, sep="\n")
    return 0 if all(figure.holds for figure in found) else 1


if __name__ == "__main__":
    sys.exit(main())

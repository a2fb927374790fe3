"""Who may import whom: one way, and nothing heavy or of the engine's on the way in."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("pipeline", "evals", "launchers")
ALLOWED = {"pipeline": set(OURS), "evals": {"evals"}, "launchers": {"launchers"}}

# Run by the engine's interpreter only: loaded by SGLang through entry points, or run as a script.
ENGINE_SIDE = (
    "launchers/mixed_comm/",
    "launchers/reduce_scatter/",
    "launchers/torch_cpu/",
    "launchers/models/",
)
ENGINE_SCRIPTS = ("launchers/flag_check.py", "evals/bench_runs.py")
# The pure parts of those packages, which the rest may use.
SHARED = {
    "launchers.models",
    "launchers.mixed_comm.policy",
    "launchers.mixed_comm.requirements",
    "launchers.mixed_comm.settings",
    "launchers.mixed_comm.targets",
    "launchers.mixed_comm.witness",
    "launchers.torch_cpu.settings",
}
ENGINE = {"sglang", "torch", "flashinfer", "transformers"}


def modules() -> Iterator[Path]:
    for package in OURS:
        yield from sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            yield node.module


def engine_side(path: Path) -> bool:
    relative = str(path.relative_to(ROOT))
    return relative.startswith(ENGINE_SIDE) or relative in ENGINE_SCRIPTS


@pytest.mark.parametrize("path", list(modules()), ids=name_of)
def test_packages_import_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    tops = {name.split(".")[0] for name in imports(path)}
    wrong = tops & set(OURS) - ALLOWED[package]
    assert not wrong, f"{name_of(path)} must not import {wrong}"


@pytest.mark.parametrize("path", list(modules()), ids=name_of)
def test_only_the_engine_side_imports_the_engine(path: Path) -> None:
    if engine_side(path):
        return
    assert not {name for name in imports(path) if name.split(".")[0] in ENGINE}


@pytest.mark.parametrize("path", list(modules()), ids=name_of)
def test_nobody_imports_the_engine_side(path: Path) -> None:
    mine = str(path.relative_to(ROOT))
    for name in imports(path):
        target = name.replace(".", "/")
        hit = (target + "/").startswith(ENGINE_SIDE) or target + ".py" in ENGINE_SCRIPTS
        if hit and name not in SHARED:
            package = tuple(p for p in ENGINE_SIDE if mine.startswith(p))
            assert package, f"{mine} imports {name}, which only the engine's interpreter may load"
            assert (target + "/").startswith(package), f"{mine} imports {name} of another plugin"


def test_the_packages_import_without_torch_and_the_engine() -> None:
    script = (
        "import sys, pipeline.cli, evals, launchers.local\n"
        f"import {', '.join(sorted(SHARED))}\n"
        f"print(sorted(set(sys.modules) & {ENGINE | {'pandas', 'datasets', 'openai'}!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


def test_pure_modules_touch_neither_network_nor_processes_nor_clock() -> None:
    effects = {"subprocess", "socket", "requests", "time", "os", "threading"}
    pure = ["plan", "planning", "schedule", "plan_text", "order", "layout", "facts", "sweeps"]
    pure += ["gpu_rule"]
    paths = [ROOT / "pipeline" / f"{name}.py" for name in pure]
    for package in ("spec", "stats", "power", "gate", "premises"):
        paths += sorted((ROOT / "pipeline" / package).rglob("*.py"))
    assert len(paths) > len(pure)
    for path in paths:
        used = {name.split(".")[0] for name in imports(path)} & effects
        assert not used, f"{name_of(path)} must stay pure, but imports {sorted(used)}"


@pytest.mark.parametrize("plugin", ["mixed_comm", "reduce_scatter"])
def test_the_plugins_need_nothing_else_of_servegate(plugin: str) -> None:
    """`pip install --no-deps servegate` beside SGLang is enough to use them."""
    known = sys.stdlib_module_names | {"torch", "sglang", "flashinfer"}
    for path in sorted((ROOT / "launchers" / plugin).rglob("*.py")):
        for name in imports(path):
            ours = name.startswith(("launchers.mixed_comm", "launchers.reduce_scatter"))
            assert ours or name.split(".")[0] in known, f"{name_of(path)} imports {name}"
    assert (ROOT / "launchers" / "__init__.py").read_text(encoding="utf-8").count("import") == 0

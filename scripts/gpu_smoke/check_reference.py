"""Asks servers that differ in their kernels what the float32 reference knows, all at once.

Three servers share the GPU: with the kernels that were carried here, with kernels compiled here,
and with torch's own attention without CUDA graphs. The last line says which explanation is left.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from launchers.server.failures import ServerError
from scripts.gpu_smoke.agreement import Agreement, agreement, hypothesis
from scripts.gpu_smoke.asking import greedy
from scripts.gpu_smoke.serving import command, served

_TORCH_NATIVE = ("--attention-backend", "torch_native", "--disable-cuda-graph")


def main() -> int:
    """Exit code 1 when a variant is wrong or did not answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiment", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--no-carried-kernels", required=True, help="PYTHONPATH without them")
    parser.add_argument("--empty-cache", required=True, help="an empty folder to compile into")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--engine", choices=["fake"])
    options = parser.parse_args()
    known = json.loads(options.reference.read_text(encoding="utf-8"))
    model = [f"model.path={options.model}"]
    argv = command(options.experiment, model, options.engine)
    native = argv if options.engine else [*argv, *_TORCH_NATIVE]
    compiled = {
        "PYTHONPATH": options.no_carried_kernels,
        "TVM_FFI_CACHE_DIR": f"{options.empty_cache}/tvm",
        "FLASHINFER_WORKSPACE_BASE": f"{options.empty_cache}/flashinfer",
    }
    variants: dict[str, tuple[list[str], dict[str, str]]] = {
        "carried": (argv, {}),
        "compiled": (argv, compiled),
        "torch-native": (native, {}),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(variants)) as pool:
        asked = {
            name: pool.submit(ask, name, given, env, known, options.out)
            for name, (given, env) in variants.items()
        }
        found = {name: future.result() for name, future in asked.items()}
    return tell(found, options.out)


def ask(
    name: str, argv: list[str], env: Mapping[str, str], known: Mapping[str, Any], out: Path
) -> list[Agreement] | str:
    """Every prompt on a server of its own; a text says why there is no answer."""
    try:
        with served(argv, out / f"{name}.log", env) as server:
            answers = {
                prompt: greedy(server.base_url, entry["ids"], len(entry["greedy"]))
                for prompt, entry in known.items()
            }
    except (ServerError, OSError) as error:
        return str(error)
    (out / f"{name}.json").write_text(json.dumps(answers), encoding="utf-8")
    try:
        return [agreement(prompt, known[prompt], answer) for prompt, answer in answers.items()]
    except (ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"


def tell(found: Mapping[str, list[Agreement] | str], out: Path) -> int:
    """Print a line a prompt, and what is left; keep both as agreement.json."""
    wrong: dict[str, int | None] = {}
    for name, rows in found.items():
        if isinstance(rows, str):
            wrong[name] = None
            print(f"{name}: no answer: {rows.splitlines()[0] if rows else 'none'}")
            continue
        wrong[name] = sum(row.verdict == "wrong" for row in rows)
        for row in rows:
            parted = "" if row.gap is None else f", part where the reference's gap is {row.gap:.3f}"
            print(
                f"{name:12s} {row.prompt:12s} {row.length:4d} tokens: mean error "
                f"{row.mean_error:.4f}, max {row.max_error:.3f} nats at {row.max_at}; "
                f"{row.equal} of {row.asked} greedy tokens equal{parted}: {row.verdict}"
            )
    verdict = hypothesis(wrong)
    kept = {
        "hypothesis": verdict,
        "variants": {
            name: rows if isinstance(rows, str) else [asdict(row) for row in rows]
            for name, rows in found.items()
        },
    }
    (out / "agreement.json").write_text(json.dumps(kept, indent=1), encoding="utf-8")
    print(f"reference: {verdict}", flush=True)
    return 0 if wrong and all(count == 0 for count in wrong.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Builds FlashInfer's MixedComm kernels beforehand: `python -m servegate_sglang.mixed_comm.build`.

They are compiled on first use, some 2,000 instantiations in 22 files, which takes many minutes. In
a server all ranks would wait for that at once, and its watchdog would end them. Prints one line of
JSON: built, seconds, path, reason. With --check nothing is compiled.
"""

import argparse
import json
import os
import sys
import time
from typing import Any


def kernels() -> Any:
    """FlashInfer's build specification, with the cache folder that SGLang's processes use.

    Raises:
        ImportError, RuntimeError, OSError: SGLang, FlashInfer, NVSHMEM or a CUDA architecture is
            missing, or is another than is known here.
    """
    # SGLang moves FlashInfer's cache (0.5.23: srt/environ.py, redirect_third_party_caches), and
    # FlashInfer reads the variable when it is imported.
    from sglang.srt import environ

    if not hasattr(environ, "redirect_third_party_caches"):
        # Built elsewhere, the kernels would be compiled again by all ranks of a server at once.
        raise RuntimeError(
            "this SGLang does not say where its servers keep FlashInfer's kernels (0.5.23 does, in "
            "srt/environ.py), so they cannot be built for it beforehand"
        )
    environ.redirect_third_party_caches()
    try:
        from flashinfer.jit.comm import gen_mixed_comm_module
    except ImportError as error:
        raise RuntimeError("the FlashInfer installed here has no MixedComm kernels") from error

    return gen_mixed_comm_module()


def not_built() -> str:
    """Why the kernels cannot be loaded without compiling; "" if they can."""
    try:
        spec = kernels()
    except (ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if spec.is_compiled else f"not built: {spec.get_library_path()} does not exist"


def build() -> dict[str, Any]:
    """Compile what is missing; never raises for what a machine may lack."""
    began = time.monotonic()
    found: dict[str, Any] = {"built": False, "seconds": 0.0, "path": None, "reason": ""}
    try:
        spec = kernels()
        found["path"] = str(spec.get_library_path())
        spec.build(verbose=True, need_lock=True)
        found["built"] = bool(spec.is_compiled)
    except Exception as error:  # noqa: BLE001 - nvcc, ninja, NVSHMEM: all are reasons, not crashes
        found["reason"] = f"{type(error).__name__}: {error}"
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


def main() -> int:
    """Exit 0 if the kernels are there at the end."""
    parser = argparse.ArgumentParser(prog="python -m servegate_sglang.mixed_comm.build")
    parser.add_argument("--check", action="store_true", help="only say whether they are built")
    parser.add_argument(
        "--arch",
        help="compute capabilities to build for where there is no GPU, such as '9.0 10.0'",
    )
    arguments = parser.parse_args()
    if arguments.arch:
        os.environ["FLASHINFER_CUDA_ARCH_LIST"] = arguments.arch
    if arguments.check:
        reason = not_built()
        found: dict[str, Any] = {"built": not reason, "reason": reason}
    else:
        found = build()
    print(json.dumps(found))
    return 0 if found["built"] else 1


if __name__ == "__main__":
    sys.exit(main())

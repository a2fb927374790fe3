"""SGLang plugin that sends attention-DP communication through fused MixedComm operations.

SGLang loads `register` through the entry point group `sglang.srt.plugins` in every one of its
processes. Importing this package must not be able to fail (SGLang logs such a failure and serves
the baseline), so only the standard library is imported here.

Environment:
    SGLANG_USE_MIXED_COMM: 1 or true switches the plugin on; unset, empty, 0 or false leaves it
        inert. Anything else stops the process.
    SERVEGATE_MIXED_COMM_HANDLER: auto (default), flashinfer or reference.
    SERVEGATE_MIXED_COMM_BUILD: 1 lets a server compile FlashInfer's kernels where they are not
        built yet, which takes many minutes (see build.py).
    SERVEGATE_WITNESS_DIR: folder of the witness files, one a rank; unset: none are written.
"""

import os

SWITCH = "SGLANG_USE_MIXED_COMM"
_ON = frozenset({"1", "true"})
_OFF = frozenset({"", "0", "false"})


def register() -> None:
    """Register the hooks when the switch is on; do nothing at all when it is off.

    Raises:
        SystemExit: the switch has an unknown value, the SGLang here is not supported, a hook
            target is missing, or anything else went wrong. SGLang's loader logs and swallows
            `Exception` and would then serve the baseline under this arm's name.
    """
    value = os.environ.get(SWITCH, "").strip().lower()
    if value in _OFF:
        return
    if value not in _ON:
        raise SystemExit(f"mixed-comm: {SWITCH}={value!r} is not understood; use 1 or 0")
    try:
        from servegate_sglang.mixed_comm.plugin import activate

        activate(os.environ)
    except Exception as error:  # the loader swallows Exception, but not SystemExit
        raise SystemExit(f"mixed-comm: {type(error).__name__}: {error}") from error

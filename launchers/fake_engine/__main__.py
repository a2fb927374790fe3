"""`python -m launchers.fake_engine --fake '{"itl_ms": 5}' --model-path X --port N ...`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from launchers.fake_engine.answers import AnswerBook, AnswersError
from launchers.fake_engine.app import build
from launchers.fake_engine.arguments import UsageError, resolve
from launchers.fake_engine.settings import (
    AccuracyAt,
    CrashAtStart,
    FakeSettings,
    IgnoreEnv,
    PluginFailed,
    PortInUse,
    SlowStart,
    SymmetricMemoryOff,
)
from launchers.fake_engine.witness import Witnesses
from servegate_sglang.mixed_comm.settings import SettingsError

_USAGE = 2
_STOP_S = 0.2  # for requests in flight: a hung one never ends
_BACKLOG = 4096


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT; 2 for wrong arguments."""
    try:
        settings, args = _read(argv)
        book = AnswerBook.read(settings.answers_file)
    except (UsageError, AnswersError, ValidationError) as error:
        print(f"fake_engine: error: {error}", file=sys.stderr)
        return _USAGE
    if any(isinstance(fault, SymmetricMemoryOff) for fault in settings.faults):
        args["enable_symm_mem"] = False
    print(f"server_args={args}", flush=True)
    for fault in settings.faults:
        if isinstance(fault, PluginFailed):
            print(f"Failed to execute general plugin: {fault.name}", file=sys.stderr, flush=True)
    code = _fail_at_start(settings, args)
    if code is not None:
        return code
    ignores = any(isinstance(fault, IgnoreEnv) for fault in settings.faults)
    try:
        witnesses = Witnesses.begin(args, {} if ignores else os.environ, settings.faults)
    except SettingsError as error:
        print(f"mixed-comm: {error}", file=sys.stderr)
        return 1
    app = build(args, settings, book, witnesses)
    web.run_app(
        app,
        host=args["host"],
        port=args["port"],
        backlog=_BACKLOG,
        shutdown_timeout=_STOP_S,
        access_log=None,
        print=lambda text: print(text, flush=True),
    )
    return 0


def _read(argv: Sequence[str]) -> tuple[FakeSettings, dict[str, Any]]:
    told, rest, words = "{}", [], iter(argv)
    for word in words:
        if word == "--fake":
            told = next(words, "")
        else:
            rest.append(word)
    settings, args = FakeSettings.model_validate_json(told), resolve(rest)
    for fault in settings.faults:
        if isinstance(fault, AccuracyAt) and fault.attention_dp == args["attn_dp_size"]:
            settings = settings.model_copy(update={"accuracy": fault.accuracy})
    return settings, args


def _fail_at_start(settings: FakeSettings, args: Mapping[str, Any]) -> int | None:
    for fault in settings.faults:
        if isinstance(fault, SlowStart):
            time.sleep(fault.seconds)
        elif isinstance(fault, CrashAtStart):
            print(fault.message, file=sys.stderr)
            return fault.exit_code
        elif isinstance(fault, PortInUse):
            address = (args["host"], args["port"])
            print(
                f"[Errno 98] error while attempting to bind on address {address}:"
                " address already in use",
                file=sys.stderr,
            )
            return 1
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

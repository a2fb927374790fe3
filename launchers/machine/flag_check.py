"""Asks SGLang's own parser about command lines, in the engine's interpreter.

Run as a script by :mod:`launchers.machine.flags`, never imported: it needs SGLang, and nothing of
ours. Reads a JSON list of argument lists on stdin. Writes a JSON list of objects: ``refused``, ""
where the parser takes them, and ``arguments``, the text of all parsed values.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import NoReturn


class _Refused(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise _Refused(message)


def main() -> None:
    """Parse each list with ServerArgs' own parser; nothing is resolved and nothing is started."""
    from sglang.srt.server_args import ServerArgs

    # SGLang takes a shortened flag, too; by another name than its own nothing else here knows it.
    parser = _Parser(prog="sglang", allow_abbrev=False)
    ServerArgs.add_cli_args(parser)
    answers: list[dict[str, str]] = []
    for argv in json.load(sys.stdin):
        try:
            parsed = vars(parser.parse_args(argv))
        except (_Refused, argparse.ArgumentTypeError, ValueError) as error:
            answers.append({"refused": str(error), "arguments": ""})
        else:
            shared = sorted((k, v) for k, v in parsed.items() if k not in ("host", "port"))
            answers.append({"refused": "", "arguments": repr(shared)})
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()

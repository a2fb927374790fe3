"""The console script: no internal error and no lost output ends with a verdict's exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from typing import Any, NoReturn, TextIO, cast

from pipeline import exit_codes

__all__ = ["main"]


class _Output:
    """A standard stream whose reader may go away, or whose disk may fill, without ending a run.

    What cannot be written is dropped from then on, and ``lost`` says why.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | None = None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all that a text stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._drop(error)
            return len(text)

    def flush(self) -> None:
        """Hand on what is buffered, or drop it."""
        try:
            self._stream.flush()
        except OSError as error:
            self._drop(error)

    def _drop(self, error: OSError) -> None:
        self.lost = error
        # What is still buffered is written once more when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def main() -> NoReturn:
    """Run the command line and exit with its code.

    Exit codes 1 and 2 are a verdict and a user's mistake, and Python ends with 1 on every error
    that nobody caught: such an error ends with 3 here, and its traceback is kept in a file. A
    command whose results could not be written ends with 3, too.
    """
    # Python has None for a stream that was closed before it started.
    results = _Output(sys.stdout) if sys.stdout is not None else None
    if results is not None:
        sys.stdout = cast("TextIO", results)
    if sys.stderr is not None:
        sys.stderr = cast("TextIO", _Output(sys.stderr))
    code = _run()
    if results is not None:
        results.flush()
        if results.lost is not None:
            code = exit_codes.CANNOT_VOUCH
            if results.lost.errno != errno.EPIPE:
                print(f"error: stdout: {results.lost.strerror}", file=sys.stderr)
    sys.exit(code)


def _run() -> int:
    try:
        # Imported here, since an installation can be broken: a library that is not there is no
        # regression either.
        from pipeline.cli.app import app

        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else exit_codes.CANNOT_VOUCH
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not end with 1
        return _internal_error(
            error.error if isinstance(error, exit_codes.UnforeseenError) else error
        )
    return exit_codes.PASS


def _internal_error(error: BaseException) -> int:
    told = f"{type(error).__name__}: {error}".partition("\n")[0]
    trace = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            errors="backslashreplace",
            delete=False,
            prefix="servegate-error-",
            suffix=".txt",
        ) as file:
            file.write(f"{sys.argv}\n{trace}")
    except OSError as full:
        where = f"the traceback could not be kept ({full}): {trace.splitlines()[-3:]}"
    else:
        where = f"traceback: {file.name}"
    print(f"internal error: {told}; {where}", file=sys.stderr)
    return exit_codes.CANNOT_VOUCH

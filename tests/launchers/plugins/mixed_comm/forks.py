"""Run by test_mixed_comm_sglang: every scenario in a fork of one process with SGLang imported.

Importing SGLang takes seconds. Prints one JSON object, scenario -> findings; a scenario that
failed has its traceback instead.
"""

import json
import os
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.launchers.plugins.mixed_comm.hooked_sglang import SCENARIOS


def in_a_fork(
    scenario: Callable[[], dict[str, Any]], environment: dict[str, str]
) -> dict[str, Any]:
    """Run one scenario where it can change SGLang as it likes."""
    with tempfile.NamedTemporaryFile() as answer:
        child = os.fork()
        if child == 0:
            try:
                os.environ.update(environment)
                found = scenario()
            except BaseException:  # noqa: BLE001 - SystemExit too is a finding to report
                found = {"failed": traceback.format_exc()}
            Path(answer.name).write_text(json.dumps(found))
            os._exit(0)
        os.waitpid(child, 0)
        document = json.loads(Path(answer.name).read_text())
    assert isinstance(document, dict)
    return document


if __name__ == "__main__":
    print(json.dumps({name: in_a_fork(*asked) for name, asked in SCENARIOS.items()}))

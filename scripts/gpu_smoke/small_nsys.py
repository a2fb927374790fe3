"""Takes of an nsys export what servegate reads: kernels, launches of graphs, and their names.

An export also holds the environment variables of the profiled process and facts about the host:
onhost.sh sends none back that was not made small here.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

__all__ = ["nsys"]

# By table of the export; where one is missing, servegate does without it, but for kernels and
# names. Of a node of a graph it asks only whether there is one.
_QUERIES = {
    "CUPTI_ACTIVITY_KIND_KERNEL": 'SELECT start, "end", deviceId, streamId, correlationId, '
    "globalPid, demangledName, CASE WHEN graphNodeId THEN 1 END AS graphNodeId "
    "FROM source.CUPTI_ACTIVITY_KIND_KERNEL",
    "CUPTI_ACTIVITY_KIND_RUNTIME": "SELECT globalTid, correlationId, nameId "
    "FROM source.CUPTI_ACTIVITY_KIND_RUNTIME WHERE nameId IN (SELECT id FROM launches)",
    "TARGET_INFO_CUDA_DEVICE": "SELECT gpuId, cudaId, pid FROM source.TARGET_INFO_CUDA_DEVICE",
    "DIAGNOSTIC_EVENT": "SELECT text FROM source.DIAGNOSTIC_EVENT "
    "WHERE text LIKE '%drop%' OR text LIKE '%lost%'",
    "StringIds": "SELECT id, value FROM source.StringIds WHERE id IN (SELECT id FROM launches "
    "UNION SELECT demangledName FROM source.CUPTI_ACTIVITY_KIND_KERNEL)",
}
_LAUNCHES = (
    "CREATE TEMP TABLE launches AS SELECT id FROM source.StringIds WHERE value LIKE '%GraphLaunch%'"
)

_DROP_BEFORE = (
    "DELETE FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE (globalPid, correlationId) NOT IN (SELECT "
    "globalPid, correlationId FROM (SELECT globalPid, correlationId, row_number() OVER (PARTITION "
    "BY globalPid ORDER BY min(start) DESC) AS place FROM CUPTI_ACTIVITY_KIND_KERNEL WHERE "
    "graphNodeId GROUP BY globalPid, correlationId) WHERE place <= ?)"
)


def main() -> int:
    """Exit code 1 when the source is no export or the target is there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "--last", type=int, metavar="N", help="of each process its last N replays of graphs alone"
    )
    options = parser.parse_args()
    try:
        nsys(options.source, options.target, options.last)
    except OSError as error:
        print(f"refused: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"refused: {options.source}: is no export to be read: {error}", file=sys.stderr)
        return 1
    return 0


def nsys(source: Path, target: Path, last: int | None = None) -> None:
    """Write the target.

    Args:
        source: The export.
        target: The small one; not there yet.
        last: Of each process only its last so many replays of graphs; None: all.

    Raises:
        FileNotFoundError: There is no source.
        FileExistsError: The target is there.
        sqlite3.Error: The source is no export, or lacks a column that servegate needs.
    """
    if not source.exists():  # SQLite would make it
        raise FileNotFoundError(f"{source}: is not there")
    if target.exists():
        raise FileExistsError(f"{target}: is there already; name another file")
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(target, isolation_level=None)) as base:
        base.execute("ATTACH DATABASE ? AS source", (str(source),))
        found = {row[0] for row in base.execute("SELECT name FROM source.sqlite_master")}
        base.execute(_LAUNCHES)
        for table, query in _QUERIES.items():
            if table in found:
                base.execute(f"CREATE TABLE {table} AS {query}")
        if last is not None:
            base.execute(_DROP_BEFORE, (last,))
        base.execute("DETACH DATABASE source")
        base.execute("VACUUM")


if __name__ == "__main__":
    sys.exit(main())

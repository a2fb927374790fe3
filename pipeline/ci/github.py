"""What GitHub Actions shows of a judgement: annotations and the step's summary; pure."""

from __future__ import annotations

from pipeline.gate.model import Judgement, Row, Verdict

__all__ = ["annotation_lines", "summary"]

# GitHub shows at most ten annotations of each kind for a step, and drops the rest in silence.
_MOST = 10

# Workflow commands of docs.github.com/actions: error, warning, notice. Whatever is no pass and no
# plain regression is a warning, since servegate cannot vouch for it and ends with 3.
_COMMANDS = {
    Verdict.REGRESSED: "error",
    Verdict.INCONCLUSIVE: "warning",
    Verdict.MISSING: "warning",
    Verdict.UNSUPPORTED: "notice",
}


def annotation_lines(judgement: Judgement) -> list[str]:
    """Workflow commands, one for the run and one for each row that is no pass.

    A run that is no pass without a row to say why still has its own.
    """
    made = []
    overall = _COMMANDS.get(judgement.verdict)
    if overall is not None:
        made.append(_command(overall, f"servegate: {judgement.verdict.value}", judgement.reason))
    counts: dict[str, int] = {overall: 1} if overall is not None else {}
    for row in judgement.rows:
        command = "notice" if row.quarantine else _COMMANDS.get(row.verdict)
        if command is None or counts.get(command, 0) >= _MOST:
            continue
        counts[command] = counts.get(command, 0) + 1
        made.append(_command(command, _title(row), _told(row)))
    return made


def _title(row: Row) -> str:
    aside = "quarantined, " if row.quarantine else ""
    return f"{row.arm} on {row.layout}: {aside}{row.verdict.value}"


def _told(row: Row) -> str:
    told = [row.quarantine] if row.quarantine else []
    return "\n".join([*told, *row.reasons]) or row.verdict.value


def _command(command: str, title: str, text: str) -> str:
    """Escaped as actions/toolkit does: properties take two characters more than the message."""
    message = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = name.replace(":", "%3A").replace(",", "%2C")
    return f"::{command} title={name}::{message}"


def summary(markdown: str) -> str:
    """The head of a report for the step's summary: title, reason, caveats and the verdicts.

    Args:
        markdown: The whole report.md.
    """
    parts = markdown.split("\n## ")
    return "\n## ".join(parts[:2]).rstrip() + "\n"

"""Takes out of a text what names a machine, and finds what would still name one; pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Cleaner", "Leak", "leaks"]

# onhost.sh's work folder, the repository's copy, the host's Python; what Kineto names its file.
_PATHS = (
    (r"/tmp/servegate-gpu", "/gpu"),  # noqa: S108 - a pattern, nothing is written there
    (r"/work/[\w.-]+", "/servegate"),
    (r"/opt/[\w.-]+/\.venv", "/python"),
    (r"/tmp/tmp\w+", "/scratch"),  # noqa: S108
)
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_CARD = re.compile(rf"(GPU|MIG)-({_UUID})")
# What a distribution or a host adds to a kernel's version.
_KERNEL = re.compile(r"(\d+\.\d+\.\d+)(?:-(?!x86_64|aarch64)[\w.]+)+")
_LINUX = re.compile(rf"(?<=Linux-){_KERNEL.pattern}|^{_KERNEL.pattern}$", re.MULTILINE)
_COMMON_NAMES = frozenset({"", "host", "localhost", "127.0.0.1", "0.0.0.0"})  # noqa: S104

_LEAKS = {
    "a path of the host": r"/(?:work|tmp|opt|root|home|mnt|srv|workspace)/[\w.-]*",
    "the id of a card": r"(?:GPU|MIG)-(?!00000000-)[0-9a-f]{8}[\w-]*",
    "a UUID": rf"(?<![-\w])(?!00000000-){_UUID}",
    "an address": r"(?<![\d.])(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01])|169\.254)"
    r"(?:\.\d{1,3}){2}(?![\d.])",
    "a hardware address": r"\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b",
    "a PCI address": r"\b[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d\b",
    "a boot id": r"boot_?id\W+\w{6,}",
    "a name of a network": r"\b[\w-]+\.(?:internal|local|lan|corp|cluster)\b(?![\w(])",
    "somebody's address": r"[\w.+-]+@[\w-]+\.(?:com|org|net|io|ai|dev)\b",
    "a secret": r"\b(?:hf_|sk-|ghp_|AKIA)[A-Za-z0-9]{16,}",
    "a variable that names somebody": r"\b(?:HOSTNAME|USER|LOGNAME|HOME|SSH_\w+)\"?\s*[=:]\s*\"?\w",
    "a kernel of the host": r"\b\d+\.\d+\.\d+-\w+-v\d+\w*",
}
_COMPILED = {what: re.compile(pattern) for what, pattern in _LEAKS.items()}


@dataclass(frozen=True)
class Leak:
    """What would name a machine: its line, from 1, what it looks like, and the text itself."""

    line: int
    what: str
    text: str


class Cleaner:
    """Plain names in place of a machine's, the same ones in every file of a session.

    Args:
        hosts: Names of the machine, as provenance.json tells them.
        replaced: More texts with what to write for them, tried before all others.
    """

    def __init__(self, hosts: Iterable[str] = (), replaced: Sequence[tuple[str, str]] = ()) -> None:
        named = sorted(set(hosts) - _COMMON_NAMES, key=len, reverse=True)
        self._replaced = tuple(replaced)
        self._host = (
            re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, named))})(?![\w-])")
            if named
            else None
        )
        self._cards: dict[str, int] = {}

    def text(self, text: str) -> str:
        """The text with every known name replaced; a card's id becomes its number, from 0."""
        for old, new in self._replaced:
            text = text.replace(old, new)
        for pattern, new in _PATHS:
            text = re.sub(pattern, new, text)
        text = _CARD.sub(self._card, text)
        text = _LINUX.sub(lambda found: found[1] or found[2], text)
        return text if self._host is None else self._host.sub("host", text)

    def _card(self, found: re.Match[str]) -> str:
        number = self._cards.setdefault(found[2], len(self._cards))
        return f"{found[1]}-00000000-0000-0000-0000-{number:012d}"


def leaks(text: str) -> Iterator[Leak]:
    """Everything in a text that looks like the name of a machine, of a person, or a secret."""
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in _COMPILED.items():
            for found in pattern.finditer(line):
                yield Leak(number, what, found[0][:80])

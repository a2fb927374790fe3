"""Takes names of a machine out of a text, and finds what still looks like one; pure.

Both know patterns, not names: what matches none of them stays and is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Cleaner", "Leak", "leaks"]

# onhost.sh's work folder, an environment of Python, what Kineto names its file.
_PATHS = (
    (r"/tmp/servegate-gpu", "/gpu"),  # noqa: S108 - a pattern, nothing is written there
    (r"(?:/[\w.-]+)+/\.?venv(?![\w.-])", "/python"),
    (r"/tmp/tmp\w+", "/scratch"),  # noqa: S108
)
_HEX = "[0-9A-Fa-f]"
_UUID = rf"{_HEX}{{8}}(?:-{_HEX}{{4}}){{3}}-{_HEX}{{12}}"
_CARD = re.compile(rf"(GPU|MIG)-({_UUID})")
# What a distribution or a host adds to a kernel's version; packages add one part at the most.
_MARK = r"-(?!x86|aarch64)[\w.]+"
_KERNEL = rf"(\d+\.\d+\.\d+)(?:{_MARK})+"
_LINUX = re.compile(rf"(?<=Linux-){_KERNEL}|^{_KERNEL}$", re.MULTILINE)
_COMMON_NAMES = frozenset({"", "host", "localhost", "127.0.0.1", "0.0.0.0"})  # noqa: S104

_LEAKS = {
    "a path of the host": r"/(?:work|tmp|opt|root|home|mnt|srv|workspace)/[\w.-]*",
    "the id of a card": rf"(?:GPU|MIG)-(?!00000000-){_HEX}{{8}}[\w-]*",
    "a UUID": rf"(?<![-\w])(?!00000000-){_UUID}",
    # IPv4, but for loopback and "any"; a version of four parts reads the same.
    "an address": r"(?<!\d)(?<!\d\.)(?!127\.|0\.0\.0\.0(?!\.?\d))(?:\d{1,3}\.){3}\d{1,3}(?!\.?\d)",
    "a hardware address": rf"\b(?:{_HEX}{{2}}:){{5}}{_HEX}{{2}}\b",
    "a PCI address": rf"\b{_HEX}{{4,8}}:{_HEX}{{2}}:{_HEX}{{2}}\.\d\b",
    "a boot id": r"boot_?id\W+\w{6,}",
    "a name of a network": r"\b[\w-]+\.(?:internal|local|lan|corp|cluster)\b(?![\w(])",
    "somebody's address": r"[\w.+-]+@[\w-]+\.(?:com|org|net|io|ai|dev)\b",
    "a secret": r"\b(?:hf_|sk-|ghp_|AKIA)[A-Za-z0-9]{16,}",
    "a variable that names somebody": r"\b(?:HOSTNAME|USER|LOGNAME|HOME|SSH_\w+)\"?\s*[=:]\s*\"?\w",
    "a kernel of the host": rf"{_LINUX.pattern}|\b\d+\.\d+\.\d+(?:{_MARK}){{2,}}",
}
_COMPILED = {what: re.compile(pattern) for what, pattern in _LEAKS.items()}


@dataclass(frozen=True)
class Leak:
    """What may name a machine: its line, from 1, what it looks like, and the text itself."""

    line: int
    what: str
    text: str


class Cleaner:
    """Plain names in place of a machine's, the same ones in every file of a session.

    Args:
        hosts: Names of the machine, as provenance.json tells them.
        roots: Where the repository lies there.
        replaced: More texts with what to write for them, tried before all others.
    """

    def __init__(
        self,
        hosts: Iterable[str] = (),
        roots: Iterable[str] = (),
        replaced: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._replaced = tuple(replaced)
        self._hosts = _any_of(set(hosts) - _COMMON_NAMES, r"\w-")
        self._roots = _any_of(set(roots), r"\w.-")
        self._cards: dict[str, int] = {}

    def text(self, text: str) -> str:
        """The text with every known name replaced; a card's id becomes its number, from 0."""
        for old, new in self._replaced:
            text = text.replace(old, new)
        for pattern, new in _PATHS:
            text = re.sub(pattern, new, text)
        # Behind the patterns, since an environment of Python may lie in the repository.
        text = self._roots.sub("/servegate", text)
        text = _CARD.sub(self._card, text)
        text = _LINUX.sub(lambda found: found[1] or found[2], text)
        return self._hosts.sub("host", text)

    def _card(self, found: re.Match[str]) -> str:
        number = self._cards.setdefault(found[2].lower(), len(self._cards))
        return f"{found[1]}-00000000-0000-0000-0000-{number:012d}"


def _any_of(names: Iterable[str], inside: str) -> re.Pattern[str]:
    """Matches each name, the longest first, where no character of a name goes on; none: nothing."""
    ordered = sorted(filter(None, names), key=len, reverse=True)
    if not ordered:
        return re.compile(r"(?!)")
    return re.compile(rf"(?<![{inside}])(?:{'|'.join(map(re.escape, ordered))})(?![{inside}])")


def leaks(text: str) -> Iterator[Leak]:
    """What matches the patterns of a machine's names, a person's, or a secret; other names do not.

    A host's kernel is a version that is a whole line or stands behind "Linux-", with a part behind
    it, or one anywhere with two parts behind it.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in _COMPILED.items():
            for found in pattern.finditer(line):
                yield Leak(number, what, found[0][:80])

r"""The part of a response that is its answer: boxes, what follows a thought, no next question.

Everything here is linear in the length of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

__all__ = [
    "Box",
    "boxes",
    "innermost",
    "is_blank",
    "parts",
    "without_run_on",
    "without_wrappers",
]

_BOX = r"\\(?:boxed|fbox|framebox)(?![A-Za-z])"
# Two backslashes break a line, but some models double the one of a box.
_TOKEN = re.compile(_BOX + r"\s*(?P<brace>\{)?|\\\\(?!f?boxe?d?\b)|\\[{}]|[{}]")
_BARE = re.compile(r"[-+]?[\w.,]{1,40}")

# How models with and without a reasoning parser end their thoughts.
_THOUGHT_END = re.compile(
    r"</(?:think|thinking|thought|reasoning)>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>"
    r"|<\|channel\|>final<\|message\|>",
    re.IGNORECASE,
)
_THOUGHT_BEGIN = re.compile(r"<(?:think|thinking|thought|reasoning)>|\[THINK\]|◁think▷")

# How a base model begins a question of its own behind its answer, at the start of a line, or a
# control token that the server did not take for the end.
_NEXT_QUESTION = re.compile(
    r"^[ \t>#*_]{0,8}(?:"
    r"(?:(?:next|new)[ \t])?(?:question|problem|exercise|q)(?:[ \t]{0,2}#?\d{1,4})?"
    r"[ \t*_]{0,4}[:.)]"
    r"|(?:question|problem|exercise)[ \t]{1,2}#?\d{1,4}[ \t*_]{0,4}$"
    r"|(?:human|user)[ \t*_]{0,4}:"
    r")|<\|(?:im_start|im_end|eot_id|endoftext|start_header_id|end_of_text|end|user)\|>|</s>",
    re.IGNORECASE | re.MULTILINE,
)

_MOST_QUESTIONS = 16  # a model in a loop writes thousands; each is a text to be read

_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sl|sc|up|md|normal)?|emph|math(?:rm|bf|it|sf|tt|normal)"
    r"|boldsymbol|bm|pmb|mbox|hbox|operatorname\*?|underline|ensuremath|(?:display|text)style"
    r"|rm|bf|it|left|right|[Bb]igg?[lr]?|large|Large|LARGE|[Hh]uge|small|textsuperscript)"
    r"(?![A-Za-z])[ \t]*|\\(?:text)?color[ \t]*\{[^{}]{0,40}\}|\\checkmark(?![A-Za-z])"
)
# Commands that print nothing, or dots and squares where an answer was to be.
_PRINTS_NOTHING = re.compile(
    r"\\(?:[,;:! _]|(?:q?quad|thinspace|enspace|[lc]?dots|square|Box|phantom)(?![A-Za-z]))"
)
_SAYS_SOMETHING = re.compile(r"\\[A-Za-z]|[^\W_]")


@dataclass(frozen=True, kw_only=True)
class Box:
    r"""One ``\boxed{...}`` of a text.

    Attributes:
        start: Where its backslash stands.
        end: Behind its closing brace.
        content: What stands between the braces; None where it is never closed.
    """

    start: int
    end: int
    content: str | None


def boxes(text: str) -> list[Box]:
    r"""Every box of a text, in order of their beginnings; ``\boxed 5`` is one, too.

    An escaped brace opens and closes nothing. A box in a box is one of its own, behind the outer.
    """
    return sorted(_closed(text), key=lambda box: box.start)


def _closed(text: str) -> Iterator[Box]:
    open_braces: list[tuple[int, int] | None] = []
    for token in _TOKEN.finditer(text):
        if token["brace"]:
            open_braces.append((token.start(), token.end()))
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}":
            begun = open_braces.pop() if open_braces else None
            if begun is not None:
                start, inner = begun
                yield Box(start=start, end=token.end(), content=text[inner : token.start()])
        elif len(token[0]) > 2:  # a box without a brace, and no escaped character
            bare = _BARE.match(text, token.end())
            if bare is not None:
                yield Box(start=token.start(), end=bare.end(), content=bare[0])
    for begun in open_braces:
        if begun is not None:
            yield Box(start=begun[0], end=len(text), content=None)


def innermost(found: Sequence[Box]) -> Iterator[Box]:
    """Boxes that have no other box in them, in order."""
    for box, behind in pairwise([*found, Box(start=1 << 62, end=1 << 62, content=None)]):
        if behind.start >= box.end:
            yield box


def parts(text: str) -> list[tuple[str, bool]]:
    """The parts of a text to look for its answer in, in turn, and whether each is said in earnest.

    What stands behind the end of the model's thoughts comes first. In a thought, only what is
    stated formally counts.
    """
    end = 0
    for found in _THOUGHT_END.finditer(text):
        end = found.end()
    if text[end:].strip() and end:
        return [(text[end:], True), (text, False)]
    return [(text, not (end or _THOUGHT_BEGIN.search(text)))]


def without_run_on(text: str) -> Iterator[str]:
    """The text up to each next question that the model asks itself, and at last all of it.

    A base model that is not stopped goes on with a question of its own. Some models repeat the
    question before they answer it: then what stands before it holds no answer, and a caller takes
    the next of these.
    """
    for found in islice(_NEXT_QUESTION.finditer(text), _MOST_QUESTIONS):
        before = text[: found.start()]
        if before.strip():
            yield before
    yield text


def without_wrappers(text: str) -> str:
    r"""Text without the commands that change only its looks, such as ``\text`` and ``\mathbf``."""
    return _WRAPPER.sub("", text)


def is_blank(content: str) -> bool:
    """Whether a box holds nothing, or only what stands for an answer that is not there."""
    return _SAYS_SOMETHING.search(_PRINTS_NOTHING.sub("", without_wrappers(content))) is None

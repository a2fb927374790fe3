"""The letter that an answer chooses, from boxes and sentences that state it, not from words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from evals.accuracy.marking.text import boxes, innermost, without_wrappers

__all__ = ["Choice", "choose", "labels_of", "letter_of"]

_OPENED, _CLOSED = "\ue000", "\ue001"  # private characters, where a box begins and ends
_MOST_STATEMENTS = 200  # of one text, its last ones; a model in a loop makes thousands
_SHOWN = 80  # characters of a statement that are looked at

_LABEL = re.compile(r"^[ \t]{0,4}\(?([A-Z])[).:][ \t]", re.MULTILINE)
_ANY_LABEL = re.compile(r"(?<!\w)[A-Z][).:]")
_LABELLED = re.compile(r"(?:[Oo]ption |[Cc]hoice )?\(?[A-Z](?:[).:]|$)")

_PLAIN = str.maketrans(
    {
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
        **dict.fromkeys("\u00a0\u2009\u202f\u3000", " "),
        **dict.fromkeys("\u200b\u2060\ufeff\u00ad*`$", ""),
        **dict.fromkeys("\u2018\u2019\u201c\u201d", '"'),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-"),
        _OPENED: "",
        _CLOSED: "",
    }
)
# What sgl-eval takes for A to D in Arabic and Bengali choices (evaluator/mcq.py).
_LOCAL = str.maketrans("أبجدঅবডঢ", "ABCDABCD")
_TYPESET = re.compile(r"\\[,;:! ()\[\]]|(?<!\\)[{}]|~|</?[a-z]{1,6}>")
_UNDERSCORES = re.compile(r"(?<!\w)_{1,2}|_{1,2}(?!\w)")

_IS = r"(?:is|would be|must be|should be)(?:[ \t]+(?:therefore|thus|hence|likely|indeed))?"
_STATED = re.compile(
    r"(?:\b(?:answer|ans)\b|\u7b54\u6848)[\"']?(?:[ \t]*\([^()\n]{0,20}\))?"
    r"[ \t]*(?::|=|->|\u2192|\u21d2)[ \t]*\n?[ \t]*"
    r"|^#{1,6}[ \t]*(?:final |correct )?answer[ \t]*\n+[ \t]*"
    r"|\b(?:final|correct|right|best)[ \t]+(?:answer|choice|option)[ \t]+"
    rf"{_IS}(?:[ \t]*:)?[ \t]*\n?[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
_SAID = re.compile(
    rf"\banswer[ \t]+(?:to (?:this|the) (?:question|problem) )?{_IS}(?:[ \t]*:)?[ \t]*"
    r"|\b(?:choose|select|pick|go with)[ \t]+"
    r"|\b(?=(?:option|choice)[ \t]+\(?[A-Z]\)?[ \t]+(?:is|must be)[ \t]+(?:the[ \t]+)?"
    r"(?:correct|right|best|answer))"
    r"|(?<![\w(])(?=\(?[A-Z]\)?[ \t]+is[ \t]+the[ \t]+(?:correct|right|best)[ \t]+"
    r"(?:answer|option|choice)\b)",
    re.IGNORECASE,
)
_LETTER = re.compile(
    rf"\s*(?:(?:(?:the|it|is|option|choice|letter|answer|final|correct|best)\b|[:{_OPENED}])\s*)*"
    rf'(?P<open>[(\[<"]?)\s?(?P<letter>[A-Za-z])(?P<close>\s?[)\]>"{_CLOSED}]?)(?P<rest>.*)',
    re.DOTALL | re.IGNORECASE,
)
_ENDS = re.compile(r"(?![_^=+#<>'-])[^\w\\]*(?:\n.*)?", re.DOTALL)
_ANOTHER = re.compile(
    rf"[\s{_CLOSED}]*(?:,|/|&|\\&|\bor\b|\band\b|\+)\s*(?:or\s|and\s)?\(?([A-Z])"
    r"(?![\w^']|\s+(?:is|are|was|would|cannot|does)\b)"
)
_BEHIND = re.compile(
    r"[\s)]*(?:\n|[:.)](?=\s|\\|$)|,(?=\s)|;|-+\s|\u2014|\(|=>|->|\u2192|\\(?:right|R)arrow|"
    r"(?:because|since|as|for|due|which|where|with|but)\b"
    r"|is\b(?!\s+(?:not|wrong|incorrect|false|impossible)\b))"
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        letter: A letter of the choices, or what was named in its place.
        note: Why it is none of the choices; None where it is one.
    """

    letter: str
    note: str | None = None


def labels_of(question: str, default: str) -> str:
    """The letters of a question's choices, from its own text where they head its last lines."""
    found = "".join(_LABEL.findall(question))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return found if len(found) > 1 and alphabet.startswith(found) else default


def choose(text: str, labels: str, *, ended: bool) -> Choice | None:
    r"""The choice that a text states last; None where it states none.

    Read are boxes, ``Answer: X``, and "the final (correct, best) answer is X". Where there is none
    and the text came to its own end, "the answer is X", "I choose X", "option X is correct", and
    a text or last line that is nothing but a letter.

    Args:
        text: The response.
        labels: The letters of the choices.
        ended: Whether the model came to its end: in a text that was cut off, only what it states
            formally counts.
    """
    flat = _flat(text)
    outside: Choice | None = None
    for fragment, strict in _formal(flat):
        choice = letter_of(fragment, labels, strict=strict)
        if choice is not None and choice.note is None:
            return choice
        outside = outside or choice
    if ended and outside is None:
        for fragment in _informal(flat):
            choice = letter_of(fragment, labels, strict=True)
            if choice is not None and choice.note is None and choice.letter in fragment:
                return choice
    return outside


def letter_of(fragment: str, labels: str, *, strict: bool) -> Choice | None:
    """The letter at the head of a fragment, if it stands for a choice.

    A letter that begins a word, a formula or a sentence (``A mixture``, ``E = mc^2``, ``I think``)
    stands for none. Several letters, and one that is none of the choices, are told with a note.

    Args:
        fragment: What stands in a box, or behind "Answer:".
        labels: The letters of the choices.
        strict: Whether a letter before a word is a choice only if a stop, a bracket, a dash or a
            conjunction parts them; else only A and I must be parted, since they are words, too.
    """
    found = _LETTER.match(fragment)
    if found is None:
        return None
    letter, rest = found["letter"], found["close"].strip('"' + _CLOSED) + found["rest"]
    bracketed = found["open"] != "" and found["close"].strip() != ""
    if bracketed:
        rest = found["rest"]
    upper = letter.upper()
    another = _ANOTHER.match(rest)
    if another is not None and letter.isupper() and {letter, another[1]} <= set(labels):
        named = fragment.translate(_PLAIN).strip()[:40]
        return Choice(letter=named, note="names more than one choice")
    alone = _ENDS.fullmatch(rest) is not None
    parted = alone or (bracketed and not rest[:1].isalnum() and rest[:1] != "_")
    if letter.isupper() and not parted:
        parted = _BEHIND.match(rest) is not None or (
            not strict and letter not in "AI" and rest[:1] in " \t" and rest.strip()[:1].isalpha()
        )
    elif not parted:  # a small letter is a label only with a bracket: c) 5 m/s
        parted = rest.startswith(") ")
    if not parted:
        return None
    if upper not in labels:
        if not alone:
            return None
        return Choice(letter=upper, note=f"is none of the choices {labels[0]} to {labels[-1]}")
    return Choice(letter=upper)


def _flat(text: str) -> str:
    """The text without typesetting, its boxes between private characters."""
    text = text.replace("\\$", "").translate(_PLAIN)
    pieces: list[str] = []
    at = 0
    for box in innermost(boxes(text)):
        if box.content is None:
            continue
        pieces += [text[at : box.start], _OPENED, box.content, _CLOSED]
        at = box.end
    flat = without_wrappers("".join([*pieces, text[at:]])).translate(_LOCAL)
    return _UNDERSCORES.sub("", _TYPESET.sub(" ", flat).replace("  ", " "))


def _formal(flat: str) -> Iterator[tuple[str, bool]]:
    """What the text states formally, the last first, and whether to be strict with it."""
    places = [(found.start(), found.end(), True) for found in re.finditer(_OPENED, flat)]
    places += [(found.start(), found.end(), False) for found in _STATED.finditer(flat)]
    for _, begin, is_box in sorted(places, reverse=True)[:_MOST_STATEMENTS]:
        if is_box:
            end = flat.find(_CLOSED, begin)
            yield flat[begin : min(end, begin + _SHOWN) + 1], True
        else:
            yield flat[begin : begin + _SHOWN].partition("\n")[0], False


def _informal(flat: str) -> Iterator[str]:
    """What the text says of an answer, the last first, and lines that are a letter alone."""
    for found in reversed(list(_SAID.finditer(flat))[-_MOST_STATEMENTS:]):
        yield flat[found.end() : found.end() + _SHOWN].partition("\n")[0]
    lines = flat.strip().split("\n")
    if re.fullmatch(r"\W*[A-Za-z]\W*", lines[-1]):
        yield lines[-1].strip("( \t")
    if len(lines) == 1 and len(_ANY_LABEL.findall(lines[0])) < 2 and _LABELLED.match(lines[0]):
        yield lines[0][:_SHOWN]

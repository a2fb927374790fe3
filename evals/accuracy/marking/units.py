"""Which words behind a number are its unit, and which would make it another number."""

from __future__ import annotations

import re

__all__ = ["ends_in_unit", "scale_of", "words"]


def words(text: str) -> frozenset[str]:
    """The words of a text, which are a list that way."""
    return frozenset(text.split())


_SCALES = {
    "k": 10**3,
    "K": 10**3,
    "M": 10**6,
    "B": 10**9,
    "bn": 10**9,
    "hundred": 100,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
_SCALE = re.compile(rf" ?({'|'.join(_SCALES)})(?![A-Za-z])")

# A letter alone is a variable (5x), unless it is the symbol of a unit that problems ask for.
_LETTERS = frozenset("mgshLlJNWVAKCF")
# Two letters are a product (5xy), unless they are such a symbol.
_SYMBOLS = words(
    "km cm mm nm kg mg lb oz ft in yd mi hr ml mL dL cL cc Hz Pa eV GB MB KB TB kB am pm sq cu pc "
    "ea dl qt pt kJ kW MW kN kV ms ns us bp hrs lbs yds pts pcs qts mph kph kmh rpm Mbps kWh kcal "
    "cal min mins sec secs ppm mol kr"
)
_SHORT_WORDS = words("of per a an on in by at up he she it")
# With one of these the text says something else than the number before it.
_CHANGING = words(
    "or to than not is are was half halves third thirds fourth fourths fifth fifths plus minus "
    "squared cubed negative if but between sqrt log sin cos tan exp one two three four five six "
    "seven eight nine ten hundred thousand million billion "
    "wrong incorrect unless until"
)
_MOST_WORDS = 10

_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_TOKEN = re.compile(r"(?P<word>[^\W\d_]+(?:'[A-Za-z]+)?)'?\.?(?:\^ ?\(?-?\d\)?)?")
_BETWEEN = re.compile(r"[ /()*-]|per\b")
_DEGREES = re.compile("\u00b0 ?[CF]?(?![A-Za-z])")
# Scales and a half in Chinese and Japanese, and Greek letters, which are variables.
_OTHER_SCRIPTS_CHANGING = re.compile(
    "[\u4e07\u842c\u4ebf\u5104\u5343\u767e\u5146\u534a\u0370-\u03ff]"
)
_VOWEL = re.compile("[aeiouyAEIOUY]")


def scale_of(rest: str) -> tuple[int | None, str]:
    """The factor that a number's next word is (``million``, ``k``), if it is, and what is behind.

    Args:
        rest: The text directly behind the number.
    """
    found = _SCALE.match(rest)
    return (None, rest) if found is None else (_SCALES[found[1]], rest[found.end() :])


def ends_in_unit(rest: str) -> bool:
    """Whether what stands behind a number is nothing or a unit in words or symbols.

    Args:
        rest: The text directly behind the number, in plain characters.
    """
    rest = rest.rstrip(" .,;")
    if ordinal := _ORDINAL.match(rest):
        rest = rest[ordinal.end() :]
    if degrees := _DEGREES.match(rest):
        rest = rest[degrees.end() :]
    attached, words = rest[:1].isalpha(), 0
    while rest:
        if between := _BETWEEN.match(rest):
            rest = rest[between.end() :]
            continue
        token = _TOKEN.match(rest)
        if token is None or words == _MOST_WORDS or not _is_unit(token["word"], attached=attached):
            return False
        attached = False
        words += 1
        rest = rest[token.end() :]
    return True


def _is_unit(word: str, *, attached: bool) -> bool:
    if not word.isascii():
        return not _OTHER_SCRIPTS_CHANGING.search(word)
    if len(word) == 1:
        return word in _LETTERS or (word == "a" and not attached)
    if word in _SYMBOLS:
        return True
    if attached:
        return len(word) > 3 and _VOWEL.search(word) is not None and word not in _CHANGING
    if len(word) == 2:
        return word in _SHORT_WORDS
    return word.lower() not in _CHANGING and _VOWEL.search(word) is not None

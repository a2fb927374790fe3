r"""Numbers as answers write them: with units, currency, thousands, fractions, powers of ten, LaTeX.

A text is read whole or not at all: ``18 or 20`` is no number, and neither are ``18-20`` and ``5x``.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache

from evals.accuracy.marking.text import without_wrappers
from evals.accuracy.marking.units import ends_in_unit, scale_of, words

__all__ = ["MOST_CHARACTERS", "is_expression", "number_values", "same_number"]

MOST_CHARACTERS = 200  # a longer text is no number

_TOLERANCE = Fraction(1, 10**6)  # math-verify 0.9.0, too, compares decimals by six places

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
_SAME = str.maketrans(
    {
        **dict.fromkeys(_DASHES, "-"),
        **dict.fromkeys("\u2019\u2018\u02bc\uff07", "'"),
        **dict.fromkeys("\u00d7\u22c5\u00b7\u2219\u2715", "*"),
        **dict.fromkeys("\u2044\u2215", "/"),
        **dict.fromkeys("\u2248\u2243\u223c", "~"),
        "\u066b": ".",
        "\u066c": ",",
        "\u066a": "%",
        "\u00ba": "\u00b0",
    }
)
_INSTEAD = {"Zs": " ", "Zl": " ", "Zp": " ", "Sc": ""}  # by category: spaces, currency signs
_SUPERSCRIPTS = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+")
_PLAIN_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")

# LaTeX that stands for one plain character, or for space.
_LATEX = (
    (re.compile(r"\{\s*\{([^{}]*)\}\s*\}"), r"{\1}"),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s*\{?\s*(st|nd|rd|th)\s*\}?(?![A-Za-z])"), r"\1"),
    (re.compile(r"\{\.\}"), "."),
    (re.compile(r"\\!|\\(?:displaystyle|,\\!)"), ""),
    (re.compile(r"\\(?:[,;:> ~\\()\[\]]|(?:q?quad|thinspace|enspace)(?![A-Za-z]))|~"), " "),
    (re.compile(r"\^?\s*\{?\s*\\(?:circ|degree)(?![A-Za-z])\s*\}?"), "\u00b0"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "*"),
    (re.compile(r"\\(?:approx|simeq|sim|thickapprox)(?![A-Za-z])"), "~"),
    (re.compile(r"\\(?:pounds|euro|yen|textdollar|EUR)(?![A-Za-z])(?:\{\})?"), ""),
    (re.compile(r"\\(?:cents?|textcent)(?![A-Za-z])(?:\{\})?"), " cents"),
    (re.compile(r"\\([$%#&_])"), r"\1"),
    (re.compile(r"\\[dtc]?frac\s*(\d)\s*(\d)"), r" \1/\2"),
    (re.compile(r"\\[dtc]?frac\s*\{([^{}]{1,80})\}\s*\{([^{}]{1,80})\}"), r" (\1)/(\2)"),
)
_BOLD = re.compile(r"(?<![\d)])\*\*|\*\*(?!\s*[\d(])|__|`")

_DIGITS = (
    r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?:\.\d*)?"  # 8,000  12,34,567  1,234.56
    r"|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d+"  # 1.000.000  1.234,56
    r"|\d{1,3}(?:[ '_]\d{3})+(?:[.,]\d+)?"  # 1 000  1'000
    r"|\d+\.?\d*|\d+,\d+|[.,]\d+)"  # 18  18.  18.5  18,5
)
_TEN = (
    r"(?:\s?(?:\*|[xX])\s?10\s?(?:\^|\*\*)\s?\(?(?P<ten>[-+]?\d{1,3})\)?"
    r"|[eE](?P<e>[-+]?\d{1,3}))"
)
_RATIO = (
    r"\s?(?P<whole>\d+[ -])?\(?(?P<over>-?\d+(?:\.\d+)?)\)?\s?/\s?\(?(?P<under>\d+(?:\.\d+)?)\)?"
)
_NUMBER = re.compile(
    rf"(?P<sign>[-+]?)\s?(?:{_RATIO}(?![\d,.]*\d)"
    rf"|10\s?(?:\^|\*\*)\s?\(?(?P<power>[-+]?\d{{1,3}})\)?(?!\d)"
    rf"|(?P<digits>{_DIGITS})(?![\d,']*\d){_TEN}?)"
)
_HALF = re.compile(r"\s?and (?:a |one )?(?P<part>half|quarter|third)\b")
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "third": Fraction(1, 3)}
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b|pct\b|percentage points?\b)")

# What may stand before a number without changing it.
_BEFORE = re.compile(
    r"(?:about|approximately|approx\.?|around|roughly|exactly|only|just|a total of|total of|total"
    r"|the answer is|USD|EUR|GBP|INR|CNY|RMB|JPY|CAD|AUD|US|Rs\.?|~|:|#)\s*",
    re.IGNORECASE,
)
# Words before a number that say how much of what it is, such as "Janet makes": any but those with
# which the number is a bound, a part or an operand.
_SAID = re.compile(r"(?:[A-Za-z][A-Za-z']{1,30} ){1,8}(?=[-+.\d])")
_BOUNDING = words(
    "not no never least most more less fewer than under over above below up to between from or "
    "until except without if by at of per plus minus times half sqrt root log ln sin cos tan exp "
    "mod negative isn't aren't wasn't cannot can't"
)
_NAMED = re.compile(r"[A-Za-z][A-Za-z'() ]{0,80}?(?::| is| are| was| were| equals) (?P<value>.+)")
_MINUS = re.compile(r"(?:negative|minus)\s+", re.IGNORECASE)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_LIST = re.compile(r"[\d\s.,;'_-]*")
_OPERATORS = re.compile(r"\b(?:sqrt|sin|cos|tan|log|ln|exp|pi)\b")


def same_number(one: str, other: str) -> bool | None:
    """Whether two texts write the same number; None where either is no number.

    Decimals that were rounded at the sixth place are the same as what they were rounded from.
    """
    left, right = number_values(one), number_values(other)
    if not left or not right:
        return None
    return any(_near(a, b) for a in left for b in right)


@lru_cache(maxsize=4096)
def number_values(text: str) -> tuple[Fraction, ...]:
    """What a text stands for, if it is one number; empty if it is not.

    More than one value where a reader needs the question to know: 5 percent is 5 or 0.05, 2 million
    is 2 where millions were asked for.
    """
    if len(text) > MOST_CHARACTERS:
        return ()
    return _read(_plain(text))


def is_expression(text: str) -> bool:
    """Whether a text that is no number may be an expression: no words, and more than digits."""
    plain = _plain(text)
    return not _WORD.search(_OPERATORS.sub("", plain)) and not _LIST.fullmatch(plain)


def _near(a: Fraction, b: Fraction) -> bool:
    if a == b:
        return True
    if a.denominator == 1 and b.denominator == 1:
        return False
    return abs(a - b) <= _TOLERANCE * min(Fraction(1), max(abs(a), abs(b)))


def _plain(text: str) -> str:
    """The text in plain characters: what is typeset, said in ASCII."""
    text = _INVISIBLE.sub("", text).translate(_SAME)
    text = _SUPERSCRIPTS.sub(lambda found: "^" + found[0].translate(_PLAIN_SUPERSCRIPT), text)
    if not text.isascii():
        text = "".join(c if c.isascii() else _ascii(c) for c in text)
    text = without_wrappers(text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _BOLD.sub("", text).replace("$", "")
    return " ".join(re.sub(r"(?<!\\)[{}]", "", text).split())


def _ascii(character: str) -> str:
    """One character in ASCII where it has such a meaning: digits, full width, ½, spaces."""
    code, category = ord(character), unicodedata.category(character)
    if category in _INSTEAD:
        return " cents" if character == "\u00a2" else _INSTEAD[category]
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if 0xFF01 <= code <= 0xFF5E:
        return chr(code - 0xFEE0)
    if category == "No" and "fraction" in unicodedata.decomposition(character):
        return " " + unicodedata.normalize("NFKC", character).replace("\u2044", "/")
    return character


def _read(text: str) -> tuple[Fraction, ...]:
    text = text.rstrip(" .,;").strip()
    if "=" in text:
        before, _, text = text.rpartition("=")
        if re.search(r"=.*(?:,| and | or )|[!<>~]$", before):
            return ()
        text = text.strip()
    elif named := _NAMED.fullmatch(text):
        text = named["value"]
    sign = 1
    while found := _BEFORE.match(text) or _MINUS.match(text):
        sign = -sign if _MINUS.match(text) else sign
        text = text[found.end() :]
    if (said := _SAID.match(text)) and _BOUNDING.isdisjoint(said[0].lower().split()):
        text = text[said.end() :]
    if len(text) > 2 and (text[0], text[-1]) in {("(", ")"), ("[", "]"), ('"', '"')}:
        text = text[1:-1].strip()
    found = _NUMBER.match(text)
    if found is None:
        return ()
    value = _value(found)
    return () if value is None else tuple(sign * v for v in _with_rest(value, text[found.end() :]))


def _value(found: re.Match[str]) -> Fraction | None:
    """The number itself, without what stands behind it."""
    sign = -1 if found["sign"] == "-" else 1
    if found["power"] is not None:
        return sign * Fraction(10) ** int(found["power"])
    if found["over"] is not None:
        under = Fraction(found["under"])
        if under == 0:
            return None
        whole = Fraction(found["whole"].strip(" -")) if found["whole"] else Fraction(0)
        return sign * (whole + Fraction(found["over"]) / under)
    exponent = found["ten"] or found["e"]
    return sign * _decimal(found["digits"]) * Fraction(10) ** int(exponent or 0)


def _decimal(digits: str) -> Fraction:
    """Digits with the separators of any country; a comma before three digits parts thousands."""
    digits = digits.translate(str.maketrans("", "", " '_"))
    if re.fullmatch(r"[1-9]\d{0,2}(?:,\d{2,3})*,\d{3}(?:\.\d*)?", digits):
        digits = digits.replace(",", "")
    elif re.fullmatch(r"\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?|\d{1,3}(?:\.\d{3})+,\d+", digits):
        digits = digits.replace(".", "")
    return Fraction(digits.replace(",", ".").rstrip("."))


def _with_rest(value: Fraction, rest: str) -> tuple[Fraction, ...]:
    """All that a number and what stands behind it may mean; empty where that is no unit."""
    if part := _HALF.match(rest):
        value += _PARTS[part["part"]]
        rest = rest[part.end() :]
    if percent := _PERCENT.match(rest):
        return (value, value / 100) if ends_in_unit(rest[percent.end() :]) else ()
    scaled, behind = scale_of(rest)
    if not ends_in_unit(behind):
        return ()
    if scaled is None:
        return (value,)
    return (value * scaled, value) if rest[:1] == " " else (value * scaled,)

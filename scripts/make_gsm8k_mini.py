"""Write experiments/data/gsm8k-mini/*.jsonl from the question templates that lie beside them.

A template (templates.toml) has one or more wordings of a question, ranges for its numbers and the
worked steps. `[t = a * b]` in a step is a calculation: it is done here, in exact arithmetic, and
written as GSM8K writes it, `3 * 4 = <<3*4=12>>12` (`[$t = ...]` puts a dollar sign before the
result). Numbers are drawn again until every result is a whole number of at least 2.

    python scripts/make_gsm8k_mini.py            # rewrites test.jsonl and shots.jsonl
"""

import argparse
import ast
import json
import operator
import random
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "experiments" / "data" / "gsm8k-mini"
SEED = 20261124
MAX_DRAWS = 20_000
LEAST_RESULT = 2  # so that "2 apples" is never "1 apples"

# fmt: off
SHE = [
    "Ada", "Amina", "Beth", "Carla", "Chloe", "Dana", "Elif", "Farah", "Grace", "Hana", "Ines",
    "Jana", "Keiko", "Lena", "Maya", "Nina", "Olga",
]
HE = [
    "Adam", "Ben", "Carlos", "David", "Emil", "Felix", "Hugo", "Ivan", "Jonas", "Kofi", "Liam",
    "Marco", "Noah", "Omar", "Pavel", "Ravi", "Tomas",
]
# fmt: on

CALCULATION = re.compile(r"\[(?P<dollar>\$?)(?P<name>\w+) = (?P<expr>[^\]]+)\]")
OPERATORS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class TemplateError(ValueError):
    """A template in templates.toml cannot be turned into a question."""


@dataclass(frozen=True)
class Person:
    """A name with its pronouns, for `{A}`, `{A.he}`, `{A.His}` in a template."""

    name: str
    he: str
    his: str
    him: str

    def __str__(self) -> str:
        return self.name

    @property
    def He(self) -> str:  # noqa: N802 - capital letters mean the same in the template
        """The pronoun at the start of a sentence."""
        return self.he.capitalize()

    @property
    def His(self) -> str:  # noqa: N802
        """The possessive at the start of a sentence."""
        return self.his.capitalize()


@dataclass(frozen=True)
class Item:
    """One question with its worked answer; `steps` counts the calculations in it."""

    question: str
    answer: str
    steps: int
    numbers: tuple[int, ...]


def evaluate(expr: str, values: dict[str, int]) -> Fraction:
    """The exact value of `expr` over + - * /, brackets, whole numbers and the names in `values`.

    Raises TemplateError for anything else in it.
    """

    def value(node: ast.expr) -> Fraction:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Constant(value=int(number)):
                return Fraction(number)
            case ast.Name(id=name) if name in values:
                return Fraction(values[name])
        raise TemplateError(f"cannot evaluate {ast.unparse(node)!r} in {expr!r}")

    return value(ast.parse(expr, mode="eval").body)


def draw_numbers(template: dict[str, Any], rng: random.Random) -> dict[str, int]:
    """Draw `nums` ([low, high] or [low, high, step], ends included), then work out `let`."""
    values: dict[str, int] = {}
    for name, (low, high, *step) in template["nums"].items():
        values[name] = rng.randrange(low, high + 1, *step)
    for name, expr in template.get("let", {}).items():
        value = evaluate(expr, values)
        if value.denominator != 1 or value < LEAST_RESULT:
            return {}
        values[name] = int(value)
    return values


def work_out(steps: Sequence[str], values: dict[str, int]) -> list[str] | None:
    """The steps with each calculation done, results added to `values`; None for a bad draw."""
    lines: list[str] = []
    for step in steps:
        text = step
        while calculation := CALCULATION.search(text):
            name, expr = calculation["name"], calculation["expr"]
            result = evaluate(expr, values)
            if result.denominator != 1 or result < LEAST_RESULT:
                return None
            shown = re.sub(r"[A-Za-z_]\w*", lambda m: str(values[m[0]]), expr)
            values[name] = int(result)
            dollar = calculation["dollar"]
            done = f"{shown} = {dollar}<<{shown.replace(' ', '')}={result}>>{result}"
            text = text[: calculation.start()] + done + text[calculation.end() :]
        lines.append(text)
    return lines


def accepted(template: dict[str, Any], values: dict[str, int]) -> bool:
    """True when every chain of the template's `below` is strictly increasing."""
    return all(
        evaluate(low, values) < evaluate(high, values)
        for chain in template.get("below", [])
        for low, high in pairwise(chain)
    )


def people(rng: random.Random) -> dict[str, Person]:
    """Three different people, A, B and C."""
    names = [(n, "she", "her", "her") for n in SHE] + [(n, "he", "his", "him") for n in HE]
    return {letter: Person(*who) for letter, who in zip("ABC", rng.sample(names, 3), strict=True)}


def draw(template: dict[str, Any], wording: str, rng: random.Random) -> Item:
    """One item from the template in this wording.

    Raises TemplateError when no draw of its numbers works.
    """
    for _ in range(MAX_DRAWS):
        values = draw_numbers(template, rng)
        if not values:
            continue
        numbers = tuple(values.values())
        lines = work_out(template["work"], values)
        if lines is None or not accepted(template, values):
            continue
        words = {name: rng.choice(choices) for name, choices in template.get("words", {}).items()}
        fields = {**values, **words, **people(rng)}
        answer = "\n".join(lines).format(**fields)
        last = re.findall(r"=(\d+)>>", answer)[-1]
        answer = f"{answer}\n#### {last}"
        return Item(wording.format(**fields), answer, answer.count("<<"), numbers)
    raise TemplateError(f"template {template['name']!r}: no numbers satisfy it; widen its ranges")


def instances(template: dict[str, Any], count: int) -> Iterator[Item]:
    """`count` items of one template, no two with the same numbers; wordings take turns."""
    # Each template has its own stream: a new template does not change the others' questions.
    rng = random.Random(f"{SEED}:{template['name']}")  # noqa: S311 - data, not secrets
    seen: set[tuple[int, ...]] = set()
    for turn in range(count):
        wording = template["ask"][turn % len(template["ask"])]
        for _ in range(MAX_DRAWS):
            item = draw(template, wording, rng)
            if item.numbers not in seen:
                break
        else:
            raise TemplateError(f"template {template['name']!r}: fewer than {count} draws exist")
        seen.add(item.numbers)
        yield item


def mixed(rounds: Sequence[Sequence[Item]]) -> list[Item]:
    """Order items so that every first part of the file has all difficulties in proportion.

    Within a difficulty, each template is used once before any is used again.
    """
    rng = random.Random(SEED)  # noqa: S311 - data, not secrets
    by_steps: dict[int, list[Item]] = {}
    for one_round in rounds:
        for item in rng.sample(list(one_round), len(one_round)):
            by_steps.setdefault(item.steps, []).append(item)
    placed = [
        ((position + 0.5) / len(items), steps, item)
        for steps, items in sorted(by_steps.items())
        for position, item in enumerate(items)
    ]
    return [item for _, _, item in sorted(placed, key=lambda entry: entry[:2])]


def jsonl(items: Sequence[Item], prefix: str) -> str:
    """The items as JSON lines, with ids `prefix-0001` and on."""
    rows = (
        {
            "question": item.question,
            "answer": item.answer,
            "id": f"{prefix}-{number:04d}",
            "steps": item.steps,
        }
        for number, item in enumerate(items, 1)
    )
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def build(source: Path) -> dict[str, str]:
    """File name -> contents of test.jsonl and shots.jsonl, from a templates.toml."""
    tables = tomllib.loads(source.read_text(encoding="utf-8"))
    drawn = [list(instances(t, t.get("count", 3))) for t in tables["template"]]
    longest = max(len(items) for items in drawn)
    rounds = [[items[turn] for items in drawn if turn < len(items)] for turn in range(longest)]
    shots = [item for t in tables["shot"] for item in instances(t, 1)]
    return {
        "test.jsonl": jsonl(mixed(rounds), "gsm8k-mini"),
        "shots.jsonl": jsonl(shots, "gsm8k-mini-shot"),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write the two files."""
    parser = argparse.ArgumentParser(description="Write the gsm8k-mini question files.")
    parser.add_argument("--out", type=Path, default=DATA, help="folder to write to")
    folder: Path = parser.parse_args(argv).out
    for name, text in build(DATA / "templates.toml").items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

"""The offline question sets: every answer worked out again, every row whole."""

import json
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts import make_gsm8k_mini
from tests.experiments.arithmetic import agrees, calculate, leading_number

DATA = Path(__file__).resolve().parents[2] / "experiments" / "data"
GSM8K = DATA / "gsm8k-mini"
GPQA = DATA / "gpqa-mini"

Row = dict[str, Any]

# Numbers that a question may give in words: a third, half, twice, days, a dozen, minutes, percent.
IN_WORDS = {2, 3, 4, 7, 12, 60, 100}


def rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def numbers(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\d+", text)}


GSM8K_TEST = rows(GSM8K / "test.jsonl")
GSM8K_SHOTS = rows(GSM8K / "shots.jsonl")
GPQA_TEST = rows(GPQA / "test.jsonl")


@pytest.mark.parametrize(
    ("expr", "value"),
    [("2+3*4", 14), ("(2+3)*4", 20), ("-log10(1e-3)", 3), ("2^3^2", 512), ("7/2", 3.5)],
)
def test_calculate(expr: str, value: float) -> None:
    assert calculate(expr) == pytest.approx(value)


@pytest.mark.parametrize("expr", ["__import__('os')", "a+1", "'a'", "[1][0]", "(1).real"])
def test_calculate_refuses_code(expr: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        calculate(expr)


@pytest.mark.parametrize(
    ("choice", "exact", "same"),
    [
        ("2.88", 2.8753, True),
        ("2.87", 2.8753, False),
        ("1.8e-9 mol/L", 1.8e-9, True),
        ("-89 mV", -88.97, True),
        ("100 K", 101, False),
    ],
)
def test_agrees(choice: str, exact: float, same: bool) -> None:
    shown = leading_number(choice)
    assert shown is not None
    assert agrees(shown, exact) is same


# ---- gsm8k-mini


def test_gsm8k_answer_is_right(subtests: pytest.Subtests) -> None:
    for row in GSM8K_TEST + GSM8K_SHOTS:
        with subtests.test(row["id"]):
            assert list(row) == ["question", "answer", "id", "steps"]
            *steps, last_line = row["answer"].split("\n")
            worked = "\n".join(steps)
            calculations = re.findall(r"<<([^=>]+)=([^>]+)>>(\d+)", worked)
            assert len(calculations) == worked.count("<<") == row["steps"]
            known = numbers(row["question"]) | IN_WORDS
            for expr, result, repeated in calculations:
                assert calculate(expr) == int(result) == int(repeated) > 0, expr
                assert numbers(expr) <= known, f"{expr}: a number that nobody gave"
                known.add(int(result))
            assert last_line == f"#### {calculations[-1][1]}"


def test_gsm8k_every_step_is_used(subtests: pytest.Subtests) -> None:
    for row in GSM8K_TEST + GSM8K_SHOTS:
        with subtests.test(row["id"]):
            *steps, _ = re.findall(r"<<([^=>]+)=(\d+)>>", row["answer"])
            for position, (_, result) in enumerate(steps, 1):
                later = re.findall(r"<<([^=>]+)=", row["answer"])[position:]
                assert any(int(result) in numbers(expr) for expr in later), (
                    f"{result} is never used"
                )


def test_gsm8k_every_number_of_a_question_is_used() -> None:
    for row in GSM8K_TEST + GSM8K_SHOTS:
        used = numbers(" ".join(re.findall(r"<<([^=>]+)=", row["answer"])))
        unused = numbers(row["question"]) - used
        # The fuel question tells the number of friends and then of people.
        assert len(unused) <= (1 if "share the cost equally" in row["question"] else 0), row["id"]


def test_gsm8k_ids_and_texts_are_unique() -> None:
    assert [row["id"] for row in GSM8K_TEST] == [
        f"gsm8k-mini-{n:04d}" for n in range(1, len(GSM8K_TEST) + 1)
    ]
    texts = [row["question"] for row in GSM8K_TEST + GSM8K_SHOTS]
    assert [text for text, count in Counter(texts).items() if count > 1] == []


def test_gsm8k_is_graded() -> None:
    assert len(GSM8K_TEST) >= 240
    by_steps = Counter(row["steps"] for row in GSM8K_TEST)
    assert by_steps[1] >= 80
    assert all(by_steps[steps] >= 20 for steps in range(1, 6))
    assert sum(count for steps, count in by_steps.items() if steps > 5) >= 12
    assert len(GSM8K_SHOTS) == 8
    assert [row["steps"] for row in GSM8K_SHOTS] == sorted(row["steps"] for row in GSM8K_SHOTS)


@pytest.mark.parametrize("first", [16, 40, 120])
def test_gsm8k_first_rows_hold_all_difficulties_in_proportion(first: int) -> None:
    whole = Counter(row["steps"] for row in GSM8K_TEST)
    part = Counter(row["steps"] for row in GSM8K_TEST[:first])
    for steps, count in whole.items():
        assert part[steps] == pytest.approx(first * count / len(GSM8K_TEST), abs=1.5)


def test_gsm8k_shots_share_no_situation_with_the_test() -> None:
    """Not even with other numbers and names: their words but for those are different."""

    def shape(row: Row) -> str:
        names = "|".join(make_gsm8k_mini.SHE + make_gsm8k_mini.HE)
        return re.sub(rf"\d+|\b({names})\b|\b(he|she|his|her|him)\b", "_", row["question"])

    assert {shape(row) for row in GSM8K_TEST} & {shape(row) for row in GSM8K_SHOTS} == set()


def test_gsm8k_templates_are_many_and_named_once() -> None:
    tables = tomllib.loads((GSM8K / "templates.toml").read_text(encoding="utf-8"))
    names = [table["name"] for table in tables["template"] + tables["shot"]]
    assert len(names) == len(set(names))
    assert len(tables["template"]) >= 40


def test_gsm8k_script_writes_the_same_bytes(tmp_path: Path) -> None:
    make_gsm8k_mini.main(["--out", str(tmp_path)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shots.jsonl", "test.jsonl"]
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (GSM8K / path.name).read_bytes()


@pytest.mark.parametrize("expr", ["t + 1", "2 ** 3", "int(3)", "1.5 * 2"])
def test_gsm8k_script_refuses_other_expressions(expr: str) -> None:
    with pytest.raises(make_gsm8k_mini.TemplateError, match="cannot evaluate"):
        make_gsm8k_mini.evaluate(expr, {})


def test_gsm8k_script_says_which_template_cannot_be_filled() -> None:
    template = {
        "name": "never",
        "ask": ["?"],
        "work": ["[t = a - b]"],
        "nums": {"a": [1, 2], "b": [5, 9]},
    }
    with pytest.raises(make_gsm8k_mini.TemplateError, match=r"'never'.*widen its ranges"):
        list(make_gsm8k_mini.instances(template, 1))


# ---- gpqa-mini

CHOICES = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
GPQA_COLUMNS = (
    ("Record ID", "Question", *CHOICES, "Explanation", "Subdomain", "High-level domain", "Check")
)  # fmt: skip


def test_gpqa_row_is_whole(subtests: pytest.Subtests) -> None:
    for row in GPQA_TEST:
        with subtests.test(row["Record ID"]):
            assert tuple(row) == GPQA_COLUMNS
            texts = [row[column] for column in GPQA_COLUMNS if column != "Check"]
            assert all(isinstance(text, str) and text == text.strip() != "" for text in texts)
            assert len({row[choice].casefold() for choice in CHOICES}) == 4
            assert row["Question"].count("?") == 1


def test_gpqa_number_is_right_and_the_only_right_one(subtests: pytest.Subtests) -> None:
    for row in (row for row in GPQA_TEST if row["Check"] is not None):
        with subtests.test(row["Record ID"]):
            exact = calculate(row["Check"])
            shown = [leading_number(row[choice]) for choice in CHOICES]
            assert [number is not None and agrees(number, exact) for number in shown] == [
                True,
                False,
                False,
                False,
            ]
            units = {row[choice].partition(" ")[2] for choice in CHOICES}
            assert len(units) == 1


def test_gpqa_numbers_are_all_checked() -> None:
    for row in GPQA_TEST:
        numeric = leading_number(row["Correct Answer"]) is not None
        assert numeric == (row["Check"] is not None), row["Record ID"]
    assert sum(row["Check"] is not None for row in GPQA_TEST) >= 10


def test_gpqa_ids_domains_and_questions() -> None:
    ids = [row["Record ID"] for row in GPQA_TEST]
    assert ids == [f"gpqa-mini-{n:03d}" for n in range(1, len(ids) + 1)]
    assert len({row["Question"] for row in GPQA_TEST}) == len(ids) >= 48
    domains = Counter(row["High-level domain"] for row in GPQA_TEST)
    assert set(domains) == {"Physics", "Chemistry", "Biology"}
    assert max(domains.values()) - min(domains.values()) <= 2


def test_gpqa_length_does_not_give_the_answer_away() -> None:
    lengths = [[len(row[choice]) for choice in CHOICES] for row in GPQA_TEST]
    longest = sum(right > max(wrong) for right, *wrong in lengths)
    shortest = sum(right < min(wrong) for right, *wrong in lengths)
    assert longest <= 0.25 * len(lengths)
    assert shortest <= 0.25 * len(lengths)


def test_data_is_described() -> None:
    for folder in (GSM8K, GPQA):
        readme = (folder / "README.md").read_text(encoding="utf-8")
        assert "must never be compared" in re.sub(r"\s+", " ", readme)
        assert str(len(rows(folder / "test.jsonl"))) in readme

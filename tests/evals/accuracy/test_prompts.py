from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evals.accuracy.prompts import PROMPTS, find_prompt, load_template, render, with_shots
from evals.accuracy.questions import Shot
from evals.files import DataError

SHOTS = [Shot(problem="Is {x} a set?", solution="Yes.\nThe answer is \\boxed{1}.")]


def test_our_defaults_are_sgl_evals_own() -> None:
    from sgl_eval.evals._prompts import resolve_prompt
    from sgl_eval.evals._registry import _resolve_upstream_metadata

    for benchmark, name in PROMPTS.items():
        upstream = _resolve_upstream_metadata(benchmark)[1]
        assert name == upstream
        assert find_prompt(name) == resolve_prompt(upstream)


@pytest.mark.parametrize("name", ["math", "question-answer"])
def test_what_sgl_eval_renders_is_what_we_render(tmp_path: Path, name: str) -> None:
    from sgl_eval.evals._prompts import render_prompt

    config = with_shots(load_template(find_prompt(name)), SHOTS)
    file = tmp_path / "prompt.yaml"
    file.write_text(yaml.safe_dump(config))
    problem = "How much is {2}?"
    rendered = render_prompt(file, problem=problem)
    assert rendered == render(config, problem)
    assert "Is {x} a set?" in rendered
    assert "\\boxed{1}." in rendered
    assert problem in rendered
    assert rendered.index("Is {x} a set?") < rendered.index(problem)


def test_few_shot_math_is_sgl_evals_own_few_shot_block() -> None:
    from sgl_eval.evals._prompts import render_prompt, vendored_prompt

    examples = [{"problem": SHOTS[0].problem, "solution": SHOTS[0].solution}]
    theirs = render_prompt(vendored_prompt("math"), problem="p", few_shot_examples=examples)
    assert render(with_shots(load_template(find_prompt("math")), SHOTS), "p") == theirs


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a list", "needs a text under `user`"),
        ("user: 5", "needs a text under `user`"),
        ("user: no place", "has no {problem}"),
        ("user: '{problem} {other}'", "cannot be filled in"),
        ("user: '{problem} {'", "cannot be filled in"),
        ("user: '{examples}{problem}'\nfew_shot_examples: {prefix: ''}", "cannot be filled in"),
        ('user: "\t{problem}', "not readable as YAML"),
    ],
)
def test_a_bad_prompt_file_says_what_is_wrong(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(content)
    with pytest.raises(DataError) as raised:
        load_template(file)
    assert message in str(raised.value)
    assert str(file) in str(raised.value)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'maths'.*math.*question-answer"):
        find_prompt("maths")
    with pytest.raises(DataError, match="does not exist"):
        find_prompt(str(tmp_path / "none.yaml"))


def test_shots_need_a_place() -> None:
    with pytest.raises(DataError, match="no place for worked examples"):
        with_shots(load_template(find_prompt("mcq-4choices")), SHOTS)

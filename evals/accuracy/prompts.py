"""A prompt is one of sgl-eval's YAML templates, with the worked examples already written in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from evals.accuracy.questions import Shot
from evals.files import DataError

__all__ = ["PROMPTS", "Template", "find_prompt", "load_template", "render", "with_shots"]

_OURS = Path(__file__).resolve().parent / "prompts"

# What sgl-eval 0.1.3 takes by itself for the two first-class benchmarks; a test compares.
PROMPTS = {"gsm8k": "math", "gpqa": "mcq-4choices"}

_SHOT_KEYS = ("prefix", "template", "suffix")


@dataclass(frozen=True, kw_only=True)
class Template:
    """A prompt file, read and checked.

    Attributes:
        path: Where it was read.
        config: The whole file; sgl-eval may read further keys from it (``system``).
    """

    path: Path
    config: dict[str, Any]

    @property
    def user(self) -> str:
        """The user message, with ``{problem}`` and perhaps ``{examples}``, for str.format."""
        return str(self.config["user"])

    @property
    def takes_shots(self) -> bool:
        """True when worked examples can be written in."""
        return "{examples}" in self.user and isinstance(self.config.get("few_shot_examples"), dict)

    @property
    def question_head(self) -> str:
        """The line with which each worked example begins, as a model begins one of its own."""
        return str(self.config["few_shot_examples"]["template"]).partition("{problem}")[0].strip()


def find_prompt(name: str) -> Path:
    """The file behind a prompt's name or file name.

    A name is looked up among servegate's own prompts, then among those of sgl-eval; whatever
    holds a slash or ends in .yaml is a file. sgl-eval is located, not imported (a second).

    Raises:
        DataError: There is no such prompt.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise DataError(f"{path} does not exist; give a prompt file or a prompt's name")
        return path
    folders = [_OURS, *_sgl_eval_folders()]
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    known = sorted({file.stem for folder in folders for file in folder.glob("*.yaml")})
    raise DataError(f"no prompt is called {name!r}; give a .yaml file or one of {', '.join(known)}")


def load_template(path: Path) -> Template:
    """Read a prompt file and check that it can be filled in.

    Raises:
        DataError: It is not such a file. The message says what is missing.
    """
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("user"), str):
        raise DataError(f"{path}: a prompt needs a text under `user`")
    template = Template(path=path, config=config)
    if "{problem}" not in template.user:
        raise DataError(f"{path}: `user` has no {{problem}}, so no question would be asked")
    try:
        with_shots(template, [Shot(problem="p", solution="s")] if template.takes_shots else [])
    except (KeyError, IndexError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be filled in ({error!r}); only {{problem}}, {{examples}} and, in a "
            "worked example, {solution} are known; write a literal brace twice"
        ) from None
    return template


def with_shots(template: Template, shots: Sequence[Shot]) -> dict[str, Any]:
    """The template's content with `shots` written into the user message.

    sgl-eval renders a prompt with no worked examples, so they become part of its text here;
    braces in them are doubled, since the text goes through str.format once more.

    Raises:
        DataError: There are shots and the template has no place for them.
    """
    if shots and not template.takes_shots:
        raise DataError(
            f"{template.path} has no place for worked examples: it needs {{examples}} in `user` "
            "and few_shot_examples with prefix, template and suffix"
        )
    text = ""
    if shots:
        parts = {key: str(template.config["few_shot_examples"][key]) for key in _SHOT_KEYS}
        filled = [
            parts["template"].format(problem=shot.problem, solution=shot.solution) for shot in shots
        ]
        text = parts["prefix"] + "".join(filled) + parts["suffix"]
    escaped = text.replace("{", "{{").replace("}", "}}")
    config = {key: value for key, value in template.config.items() if key != "few_shot_examples"}
    config["user"] = template.user.replace("{examples}", escaped)
    render(config, "a problem")
    return config


def render(config: dict[str, Any], problem: str) -> str:
    """The user message for one problem, as sgl-eval makes it from the same content."""
    return str(config["user"]).format(problem=problem)


def _sgl_eval_folders() -> list[Path]:
    spec = find_spec("sgl_eval")
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent
    return [root / "_vendored" / "nemo_skills" / "prompts", root / "evals" / "prompts"]

"""Validation errors as sentences that name the key, what is wrong with it and what is allowed."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

__all__ = ["describe"]

_PYTHON_WORDS = {
    "Input should be a valid dictionary": "must be a mapping",
    "Input should be a valid list": "must be a list",
    "Input should be a valid string": "must be text; quote it",
    "Input should be a valid integer": "must be a whole number",
    "Input should be a valid number": "must be a number",
    "Input should be a valid boolean": "must be true or false",
}


def describe(model: type[BaseModel], error: ValidationError) -> list[str]:
    """One ``key.path: what is wrong, what is allowed`` for each mistake, in the file's order."""
    problems: dict[str, None] = {}
    for detail in error.errors(include_url=False):
        problems[_sentence(model, detail)] = None
    return list(problems)


def _sentence(model: type[BaseModel], detail: ErrorDetails) -> str:
    loc = detail["loc"]
    plain = _plain_union(model, loc)
    if plain is not None:
        path, allowed = plain
        return f"{path}: must be {allowed}"
    kind = detail["type"]
    message = detail["msg"].removeprefix("Value error, ")
    path = ".".join(str(part) for part in _visible(model, loc))
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        return f"{path}: unknown field; known here: {', '.join(known)}"
    if kind == "missing":
        return f"{path}: is required and missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        given = detail["input"].get("kind")
        what = "is required and missing" if given is None else f"unknown {given!r}"
        return f"{path}.kind: {what}; known: {_tags(detail)}"
    if kind == "string_pattern_mismatch" and "[key]" in loc:
        return (
            f"{path}: a name may hold a-z, 0-9, '.', '_' and '-', and starts with a letter or digit"
        )
    message = _PYTHON_WORDS.get(message, message.replace("Input should be", "must be"))
    given = detail["input"]
    said = kind == "value_error"  # our own validators say what was given
    shown = "" if said or isinstance(given, dict | list) else f" (given: {given!r})"
    return f"{path}: {message}{shown}" if path else message


def _plain_union(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, str] | None:
    """Path and allowed types where ``loc`` ends inside a union of plain types, else None.

    pydantic reports one error for each member of such a union; a reader wants one in all.
    """
    current: Any = model
    for index, part in enumerate(loc):
        members = [option for option in _options(current) if option is not type(None)]
        if len(members) > 1 and all(_tag_of(option) is None for option in members):
            path = ".".join(str(step) for step in _visible(model, loc[:index]))
            return path, ", ".join(dict.fromkeys(_word(option) for option in members))
        following = _step(current, part)
        if following is None:
            return None
        current = current if following is _SAME else following
    return None


_TYPE_WORDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}


def _word(option: Any) -> str:  # noqa: ANN401
    if get_origin(option) is list:
        return "a list of numbers or of texts"
    if get_origin(option) is dict:
        return "a mapping"
    return _TYPE_WORDS.get(option, "null")


def _tags(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    return str(context.get("expected_tags", "accuracy, latency")).replace("'", "")


def _visible(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[int | str]:
    """The location without what pydantic adds: union tags, '[key]', types of a plain union."""
    visible: list[int | str] = []
    current: Any = model
    for part in loc:
        if part == "[key]":
            continue
        following = _step(current, part)
        if following is _SAME:
            continue
        visible.append(part)
        if following is None:
            break
        current = following
    return visible


_SAME = object()


def _step(annotation: Any, part: int | str) -> Any:  # noqa: ANN401 - any annotation
    """The annotation one level down; ``_SAME`` when ``part`` only picks a member of a union."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if part in option.model_fields:
                return option.model_fields[str(part)].annotation
        elif get_origin(option) is dict:
            return get_args(option)[1]
        elif get_origin(option) is list and isinstance(part, int):
            return get_args(option)[0]
    if len(_options(annotation)) > 1:
        for option in _options(annotation):
            if part == _tag_of(option):
                return _SAME
    return None


def _tag_of(option: Any) -> str | None:  # noqa: ANN401
    if isinstance(option, type) and issubclass(option, BaseModel):
        field = option.model_fields.get("kind")
        if field is not None and get_origin(field.annotation) is typing.Literal:
            return str(get_args(field.annotation)[0])
    return None


def _options(annotation: Any) -> list[Any]:  # noqa: ANN401
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (typing.Union, types.UnionType):
        return [part for arg in get_args(annotation) for part in _options(arg)]
    return [annotation]


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    current: Any = model
    for part in loc:
        following = _step(current, part)
        if following is _SAME:
            current = next(o for o in _options(current) if _tag_of(o) == part)
        elif following is not None:
            current = following
    for option in _options(current):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return sorted(option.model_fields)
    return []

"""An experiment file as plain data: strict YAML, ``extends``, ``--set``; nothing is interpreted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

__all__ = ["SourceError", "apply_overrides", "load_file", "merge"]


class SourceError(ValueError):
    """An experiment file cannot be read; ``problems`` has one sentence for each mistake."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, but a key that stands twice is an error, not a silent loss."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - the signature is PyYAML's
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in lines:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key {key!r} stands twice in one mapping (lines {lines[key]} and {line}); "
                    "remove one of them",
                    key_node.start_mark,
                )
            lines[key] = line
        return super().construct_mapping(node, deep)


def load_file(path: Path) -> dict[str, Any]:
    """The file's data with everything it extends merged in.

    Raises:
        SourceError: The file is missing, is not a YAML mapping, holds tabs or duplicate keys, or
            extends itself.
    """
    return _load(path, ())


def _load(path: Path, parents: tuple[Path, ...]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in parents:
        chain = " -> ".join(p.name for p in (*parents, resolved))
        raise SourceError([f"{path}: extends: files extend one another in a circle ({chain})"])
    data = _parse(path)
    base_name = data.pop("extends", None)
    if base_name is None:
        return data
    if not isinstance(base_name, str):
        raise SourceError([f"{path}: extends: must be one file name, relative to this file"])
    base_path = path.parent / base_name
    if not base_path.is_file():
        raise SourceError(
            [f"{path}: extends: there is no file {base_path}; give a name relative to {path.name}"]
        )
    return merge(_load(base_path, (*parents, resolved)), data)


def _parse(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SourceError([f"{path}: cannot be read ({error.strerror}); check the name"]) from error
    except UnicodeDecodeError as error:
        raise SourceError([f"{path}: is not UTF-8 text ({error.reason})"]) from error
    for number, line in enumerate(text.splitlines(), start=1):
        indent = line[: len(line) - len(line.lstrip())]
        if "\t" in indent:
            raise SourceError(
                [f"{path}:{number}: a tab in the indentation; YAML wants spaces there"]
            )
    try:
        data = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader with one more check
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise SourceError([f"{where}: not valid YAML: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise SourceError([f"{path}: not valid YAML: {error}"]) from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise SourceError([f"{path}: must be a mapping of names, such as `name: my-experiment`"])
    return data


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` on it: mappings merge key by key, null deletes, all else replaces."""
    merged = dict(base)
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def apply_overrides(data: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """``data`` with each ``key.path=value`` of the command line on it; values are read as YAML.

    A part of the path that is a number indexes a list (``layouts.0.tp=2``). ``null`` deletes.

    Raises:
        SourceError: All settings that are not ``key.path=value``, or whose path leads nowhere.
    """
    problems: list[str] = []
    for setting in settings:
        try:
            data = _override(data, setting)
        except SourceError as error:
            problems += error.problems
    if problems:
        raise SourceError(problems)
    return data


def _override(data: dict[str, Any], setting: str) -> dict[str, Any]:
    path, separator, text = setting.partition("=")
    parts = path.strip().split(".")
    if not separator or not all(parts):
        raise SourceError([f"--set {setting}: must read key.path=value, such as launches=4"])
    try:
        value = yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.YAMLError as error:
        raise SourceError([f"--set {setting}: the value is not valid YAML: {error}"]) from error
    return dict(_set_at(data, parts, value, setting))


def _set_at(node: Any, parts: list[str], value: Any, setting: str) -> Any:  # noqa: ANN401 - any YAML
    head, rest = parts[0], parts[1:]
    if isinstance(node, list):
        if not head.isdigit() or int(head) >= len(node):
            raise SourceError(
                [f"--set {setting}: {head!r} is no index of a list of {len(node)} items"]
            )
        items = list(node)
        items[int(head)] = value if not rest else _set_at(items[int(head)], rest, value, setting)
        return items
    if node is None:
        node = {}
    if not isinstance(node, dict):
        raise SourceError([f"--set {setting}: {head!r} lies below a plain value, {node!r}"])
    if not rest:
        return merge(node, {head: value})
    return {**node, head: _set_at(node.get(head), rest, value, setting)}

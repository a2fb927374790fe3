"""Strict YAML, extends and --set."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.experiment.yaml_source import SourceError, apply_overrides, load_file, merge


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb:\n\tc: 2\n", r"x\.yaml:3: a tab"),
        ("a: 1\nb: 2\na: 3\n", r"x\.yaml:3: .*key 'a' stands twice .*lines 1 and 3"),
        ("a: {b: 1, b: 2}\n", r"key 'b' stands twice"),
        ("a: [1, 2\nb: 3\n", r"x\.yaml:\d: not valid YAML"),
        ("- a\n- b\n", r"x\.yaml: must be a mapping"),
        ("", r"x\.yaml: must be a mapping"),
        ("1: a\n", r"x\.yaml: must be a mapping of names"),
        ("a: !!python/object:os.system x\n", r"x\.yaml:1: not valid YAML"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        load_file(write(tmp_path, "x.yaml", text))


def test_a_missing_file_and_bad_bytes_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.yaml: cannot be read \(No such file"):
        load_file(tmp_path / "no.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: \xff\xfe")
    with pytest.raises(SourceError, match="not UTF-8"):
        load_file(bad)


def test_a_tab_inside_a_text_is_no_indentation(tmp_path: Path) -> None:
    assert load_file(write(tmp_path, "x.yaml", 'a: "1\t2"\n')) == {"a": "1\t2"}


def test_extends_merges_deeply_and_null_deletes(tmp_path: Path) -> None:
    write(tmp_path, "base.yaml", "a: {x: 1, y: 2, z: {p: 1}}\nlist: [1, 2]\ngone: 1\n")
    over = write(
        tmp_path, "x.yaml", "extends: base.yaml\na: {y: 3, z: {q: 2}}\nlist: [9]\ngone: null\n"
    )
    assert load_file(over) == {"a": {"x": 1, "y": 3, "z": {"p": 1, "q": 2}}, "list": [9]}


def test_extends_goes_through_several_files_in_other_folders(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    write(tmp_path / "base", "a.yaml", "x: 1\n")
    write(tmp_path, "b.yaml", "extends: base/a.yaml\ny: 2\n")
    top = write(tmp_path, "c.yaml", "extends: b.yaml\nz: 3\n")
    assert load_file(top) == {"x": 1, "y": 2, "z": 3}


def test_extends_in_a_circle_and_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", "extends: b.yaml\n")
    write(tmp_path, "b.yaml", "extends: a.yaml\n")
    with pytest.raises(SourceError, match=r"circle \(a\.yaml -> b\.yaml -> a\.yaml\)"):
        load_file(tmp_path / "a.yaml")
    with pytest.raises(SourceError, match=r"extends: there is no file .*nothing\.yaml"):
        load_file(write(tmp_path, "c.yaml", "extends: nothing.yaml\n"))


def test_merge_replaces_a_mapping_by_a_value_and_the_reverse() -> None:
    assert merge({"a": {"b": 1}}, {"a": 2}) == {"a": 2}
    assert merge({"a": 2}, {"a": {"b": 1}}) == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("a.b=2", {"a": {"b": 2}, "l": [{"tp": 4}]}),
        ("a.c=text", {"a": {"b": 1, "c": "text"}, "l": [{"tp": 4}]}),
        ("a.b=null", {"a": {}, "l": [{"tp": 4}]}),
        ("n.deep.key=[1, 2]", {"a": {"b": 1}, "l": [{"tp": 4}], "n": {"deep": {"key": [1, 2]}}}),
        ("l.0.tp=8", {"a": {"b": 1}, "l": [{"tp": 8}]}),
        ('a.b="1"', {"a": {"b": "1"}, "l": [{"tp": 4}]}),
        ("a.b=x=y", {"a": {"b": "x=y"}, "l": [{"tp": 4}]}),
    ],
)  # fmt: skip
def test_set(setting: str, expected: dict[str, object]) -> None:
    data = {"a": {"b": 1}, "l": [{"tp": 4}]}
    assert apply_overrides(data, [setting]) == expected
    assert data == {"a": {"b": 1}, "l": [{"tp": 4}]}


def test_all_wrong_settings_are_reported_at_once() -> None:
    with pytest.raises(SourceError) as caught:
        apply_overrides({"a": 1, "l": [1]}, ["nonsense", "a.b=1", "l.7=1", "x=[1", ".=1"])
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "--set nonsense",
        "--set a.b=1",
        "--set l.7=1",
        "--set x=[1",
        "--set .=1",
    ]

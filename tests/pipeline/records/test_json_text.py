"""JSON of a run folder: the text that people diff, and back, whatever it holds."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records.record import RecordError, read_json, write_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.\u2028é\n"), inner),
    max_leaves=20,
)


@given(VALUES)
def test_two_spaces_as_the_json_module_writes_them_and_back(value: object) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "value.json"
        write_json(path, value)
        text = path.read_bytes().decode("utf-8")
        assert text == json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        assert repr(read_json(path)) == repr(value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": [1, 1e999]}', "a.1 is inf"),
        ('{"a": -Infinity}', "a is -inf"),
        ('{"a": NaN}', "a is nan"),
        ('{"a": 1', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_what_is_no_json_of_servegate_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "value.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecordError, match=said):
        read_json(path)


def test_half_a_surrogate_pair_is_read_as_the_json_module_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    path.write_text('{"a": "\\ud800"}', encoding="utf-8")
    assert read_json(path) == {"a": "\ud800"}

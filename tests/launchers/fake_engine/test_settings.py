from typing import Any

import pytest
from pydantic import ValidationError

from launchers.fake_engine.settings import FakeSettings, Hang


def test_an_experiments_lists_and_whole_numbers_are_taken() -> None:
    told = FakeSettings.model_validate(
        {"itl_ms": 5, "answers_file": ["a"], "faults": [{"kind": "hang", "after_requests": 3}]}
    )
    assert told.faults == (Hang(kind="hang", after_requests=3),)
    assert told.answers_file == ("a",)


@pytest.mark.parametrize(
    ("wrong", "where", "what"),
    [
        ({"itl": 5}, ("itl",), "Extra inputs"),
        ({"itl_ms": "5"}, ("itl_ms",), "valid number"),
        ({"itl_ms": -1}, ("itl_ms",), "greater than or equal"),
        ({"accuracy": 1.01}, ("accuracy",), "less than or equal"),
        ({"faults": [{"kind": "explode"}]}, ("faults", 0), "does not match any of the expected"),
        ({"faults": [{"kind": "http_500_every"}]}, ("faults", 0, "http_500_every", "every"), "req"),
        ({"faults": [{"kind": "hang", "every": 2}]}, ("faults", 0, "hang", "every"), "Extra"),
        (
            {"faults": [{"kind": "hang", "after_requests": 1, "at_s": 2}]},
            ("faults", 0, "hang"),
            "exclude each other",
        ),
    ],
)
def test_what_is_wrong_is_refused_by_name(
    wrong: dict[str, Any], where: tuple[str | int, ...], what: str
) -> None:
    with pytest.raises(ValidationError, match=what) as got:
        FakeSettings.model_validate(wrong)
    assert [error["loc"] for error in got.value.errors()] == [where]

from __future__ import annotations

from pathlib import Path

import pytest

from evals.accuracy.hub import access_problem


@pytest.fixture(autouse=True)
def _clean_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in (
        "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE",
        "HF_TOKEN_PATH", "HF_DATASETS_CACHE", "HF_HUB_CACHE",
    ):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def test_gpqa_needs_a_token_and_gsm8k_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HF_TOKEN" in str(access_problem("gpqa"))
    assert access_problem("gsm8k") is None
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    assert access_problem("gpqa") is None


def test_a_stored_token_counts_and_an_empty_file_does_not(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n")
    assert access_problem("gpqa") is not None
    (tmp_path / "token").write_text("hf_x\n")
    assert access_problem("gpqa") is None


@pytest.mark.parametrize(
    "folder", ["datasets/openai___gsm8k", "hub/datasets--openai--gsm8k/snapshots"]
)
def test_offline_needs_a_cached_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "switched off" in str(access_problem("gsm8k"))
    (tmp_path / folder).mkdir(parents=True)
    assert access_problem("gsm8k") is None

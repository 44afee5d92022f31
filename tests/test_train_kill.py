"""A training that is killed goes on to the same bits, whenever the kills come.

The kills are real, SIGKILL from outside and in the middle of saving, at moments from a seeded generator. The training
is the real command in a forked child, see ``killed_training.py``: importing torch for every life would take minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_tools import photograph, write_tiny_preset

from exposure_gym.model_file import read_model

KILLS = 20
ITERATIONS = 24


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_twenty_kills_change_no_bit(tmp_path: Path) -> None:
    for i in range(3):
        photograph(tmp_path / f"inputs/{i}.tif", i, size=(80, 100))
        photograph(tmp_path / f"targets/{i}.jpg", 10 + i, size=(100, 80))
    write_tiny_preset(tmp_path / "tiny.toml", ITERATIONS)
    command = [sys.executable, Path(__file__).with_name("killed_training.py"), tmp_path, tmp_path / "runs", 0, KILLS]
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    report = json.loads(process.stdout.splitlines()[-1])

    assert len(report["reached"]) == KILLS
    assert len({*report["reached"]}) >= 4  # they came all along the way,
    assert report["left_over"] >= 1  # and some while a file was written
    whole, *killed = map(Path, report["runs"])
    last = f"checkpoint-{ITERATIONS:06d}.safetensors"
    for run in killed:
        for name in ("policy.safetensors", "critic.safetensors", last):
            form = "exposure-gym critic 1" if name.startswith("critic") else "exposure-gym agent 1"
            (expected, about), (tensors, about_other) = (read_model(each / name, form) for each in (whole, run))
            assert about == about_other  # random states and schedule
            assert tensors.keys() == expected.keys()
            for key in tensors:
                assert torch.equal(tensors[key], expected[key]), f"{run}: {name}: {key}"
        assert sorted(path.name for path in run.rglob("*")) == sorted(path.name for path in whole.rglob("*"))
        for sheet in (whole / "sheets").iterdir():
            assert sheet.read_bytes() == (run / "sheets" / sheet.name).read_bytes()

"""The table's scripts run on small folders, keep what is done, and measure what they say."""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import ANY

import numpy as np
import pytest
import torch
from cli_tools import photograph
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from ablations import VARIANTS
from frozen_agent import FrozenCritic
from held_out import RESAMPLES, TestPhotos, _spread
from paper_table import KNOWN, shortfalls
from twelve_photos import chosen

from exposure_gym.agents import ExposureAgent
from exposure_gym.metrics import ciede2000, histogram_intersection
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.rewards import shipped_critic


class Done(NamedTuple):
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str


def script(name: str, *words: object) -> Done:
    """Run a script's ``main`` here: a process for each would import torch each time."""
    out, err, status = StringIO(), StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [name, *map(str, words)])
        try:
            import_module(name).main()
        except SystemExit as end:
            status = 0 if end.code is None else 1
            print(end.code, file=err)
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for i in range(3):
        photograph(tmp_path / f"inputs/{i}.png", i)
        photograph(tmp_path / f"targets/{i}.png", i + 10 * (i == 2))
    return tmp_path / "inputs", tmp_path / "targets"


def rows_of(path: Path) -> dict[str, dict[str, Any]]:
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["settings"]["smoke"] is True
    return {f"{row.get('set', '')} {row['name']}".strip(): row for row in report["rows"]}


def test_rows_are_added_and_replaced(folders: tuple[Path, Path], tmp_path: Path) -> None:
    given = ["--inputs", folders[0], "--targets", folders[1], "--seeds", 2, "--smoke", "--out", tmp_path / "out"]
    first = script("paper_table", "sintel", "input", "random", *given)
    assert first.returncode == 0, first.stderr
    for _ in range(2):
        second = script("paper_table", "fivek", "auto-levels", "agent", "--reading", "raw-like", *given)
        assert second.returncode == 0, second.stderr
    rows = rows_of(tmp_path / "out/paper_table.json")
    ours = ["fivek auto-levels", "fivek agent", "sintel input", "sintel random"]
    assert list(rows) == ours + [f"fivek {row['name']}" for row in KNOWN]
    assert all("source" in rows[f"fivek {row['name']}"] for row in KNOWN)
    test = TestPhotos(*folders, paired=True)
    expected = histogram_intersection(test.crops("display"), test.targets)
    row = rows["sintel input"]
    assert row["luminance"]["value"] == pytest.approx(expected.luminance, abs=1e-4)
    differences = [ciede2000(a, b) for a, b in zip(test.crops("display"), test.targets, strict=True)]
    assert row["ciede2000"]["value"] == pytest.approx(np.mean(differences), rel=1e-3)
    assert (row["photos"], row["targets"], row["seeds_each"]) == (3, 3, 1)
    assert "psnr" not in rows["fivek agent"]  # no pairs
    for name in ours:
        for measure in ("luminance", "mean"):
            low, high = rows[name][measure]["interval"]
            assert low <= rows[name][measure]["value"] <= high
    assert len(rows["fivek agent"]["mean"]["runs"]) == len(rows["sintel random"]["mean"]["runs"]) == 2
    assert "paper's targets are FiveK's expert C" in second.stdout
    assert str(tmp_path) not in (tmp_path / "out/paper_table.json").read_text()


def test_the_row_of_a_recipe_is_what_it_makes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    recipe = Recipe((Edit("exposure", (0.5,)),), input_domain="display")
    recipe.save(tmp_path / "brighter.json")
    given = ["--inputs", folders[0], "--targets", folders[1], "--smoke", "--out", tmp_path]
    done = script("paper_table", "sintel", "recipe", *given, "--recipe", tmp_path / "brighter.json")
    assert done.returncode == 0, done.stderr
    test = TestPhotos(*folders, paired=True)
    expected = test.measure([test.crops("display") * np.float32(2**0.5)])
    row = rows_of(tmp_path / "paper_table.json")["sintel recipe"]
    for name, estimate in expected.items():
        assert row[name]["value"] == pytest.approx(estimate.value, rel=1e-3), name
    absent = script("paper_table", "sintel", "recipe", *given, "--recipe", tmp_path / "none.json")
    assert (absent.returncode, absent.stderr.count("\n")) == (1, 1)
    assert "needs --recipe" in script("paper_table", "sintel", "recipe", *given).stderr


def test_a_missing_folder_is_one_line(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = script("paper_table", "fivek", "input", "--inputs", tmp_path / "empty", "--targets", folders[1])
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "no photograph in this folder" in done.stderr


def test_pairs_need_their_targets(folders: tuple[Path, Path]) -> None:
    (folders[1] / "1.png").unlink()
    with pytest.raises(ValueError, match=r"1\.png: has no target"):
        TestPhotos(*folders, paired=True)


def test_shortfalls_name_the_rival_and_the_measure() -> None:
    def row(name: str, mean: float, difference: float) -> dict[str, Any]:
        return {"set": "sintel", "name": name, "mean": {"value": mean}, "ciede2000": {"value": difference}}

    rows = [row("input", 0.5, 10.0), row("random", 0.7, 8.0), row("agent", 0.6, 9.0)]
    assert shortfalls(rows) == [
        "sintel: agent does not beat random on mean: 0.600 against 0.700",
        "sintel: agent does not beat random on ciede2000: 9.000 against 8.000",
    ]
    assert shortfalls([*rows[:1], row("agent, long", 0.6, 9.0)]) == []


def test_the_interval_is_the_spread_over_photographs() -> None:
    """A mean of independent values has a known spread: deviation / sqrt(number)."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 200, 1))
    shares = np.broadcast_to(np.eye(32)[0], (1, 200, 3, 32))  # all alike: nothing to spread
    spread = _spread(shares, shares[0], values, paired_targets=True)
    assert RESAMPLES == 1000
    np.testing.assert_allclose(spread[:4], 0.0, atol=1e-12)
    assert spread[4] == pytest.approx(values.std() / np.sqrt(200), rel=0.1)


def test_every_ablation_of_the_plan_is_there() -> None:
    names = [variant.name for variant in VARIANTS]
    assert len(names) == len(set(names)) == 1 + 6 + 8 + 4
    assert [variant.size for variant in VARIANTS if variant.name == "128 pixels"] == [128]


def small_ablations(folders: tuple[Path, Path], tmp_path: Path) -> list[object]:
    """Options of trainings that take two iterations."""
    preset = tmp_path / "tiny.toml"
    preset.write_text(
        "iterations = 2\n[photos]\ninputs = 'display'\n"
        "[agent]\nbatch_size = 4\npool_size = 8\nwarmup_rollouts = 6\ncritic_updates = 1\n"
        "critic_burst = 1\nburst_iterations = 1\n[agent.policy_kwargs]\nbase_channels = 4\nfeatures = 16\nhidden = 8\n"
    )
    names = ("inputs", "targets", "test-inputs", "test-targets")
    given: list[object] = [
        word for name, folder in zip(names, folders * 2, strict=True) for word in (f"--{name}", folder)
    ]
    given += ["--runs", tmp_path / "runs", "--preset", preset, "--iterations", 2, "--smoke", "--out", tmp_path / "out"]
    return [*given, "--device", "cpu", "--checkpoint-every", 1]


def test_ablations_train_once_and_go_on(folders: tuple[Path, Path], tmp_path: Path) -> None:
    given = small_ablations(folders, tmp_path)
    first = script("ablations", *given, "--rows", "3 edits", "no dropout")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("from iteration 0") == 2
    finished = tmp_path / "runs/3-edits-2-seed-0/policy.safetensors"
    assert ExposureAgent.load(finished).reading == "display"  # as the preset says
    kept = finished.read_bytes()
    (tmp_path / "runs/no-dropout-2-seed-0/policy.safetensors").unlink()  # as if it had been stopped
    second = script("ablations", *given, "--rows", "3 edits", "no dropout", "without gamma")
    assert second.returncode == 0, second.stderr
    assert "3 edits" not in second.stderr
    assert "no dropout, seed 0: from iteration 2" in second.stderr
    assert finished.read_bytes() == kept
    rows = rows_of(tmp_path / "out/ablations.json")
    assert list(rows) == ["3 edits", "without gamma", "no dropout"]
    assert all(0.0 <= row["mean"]["value"] <= 1.0 for row in rows.values())
    elsewhere = [tmp_path / "others" if word == tmp_path / "runs" else word for word in given]
    assert script("ablations", *elsewhere, "--rows", "published").returncode == 0
    assert rows_of(tmp_path / "out/ablations.json") == rows | {"published": ANY}  # other trainings' rows stay
    longer = [3 if word == 2 else word for word in elsewhere]
    assert script("ablations", *longer, "--rows", "1 edit").returncode == 0
    assert list(rows_of(tmp_path / "out/ablations.json")) == ["1 edit"]  # those of other settings do not


def test_ablations_against_the_frozen_critic(folders: tuple[Path, Path], tmp_path: Path) -> None:
    given = small_ablations(folders, tmp_path)
    done = script("ablations", *given, "--frozen", "--rows", "3 edits", "128 pixels", "bfloat16")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/ablations_frozen.json").read_text())
    assert report["settings"]["frozen"]
    assert [row["name"] for row in report["rows"]] == ["3 edits", "128 pixels", "bfloat16"]
    for row in ("3-edits", "128-pixels"):
        folder = tmp_path / f"runs/{row}-frozen-2-seed-0"
        last = json.loads((folder / "log.jsonl").read_text().splitlines()[-1])
        assert "policy_loss" in last
        assert "critic_loss" not in last
        weights = load_file(folder / "checkpoint-000002.safetensors")
        for name, value in shipped_critic().state_dict().items():
            assert weights[f"policy.critic.{name}"].equal(value), name
    assert ExposureAgent.load(tmp_path / "runs/bfloat16-frozen-2-seed-0").precision == "bfloat16"


def test_the_frozen_critic_sees_larger_pictures_averaged_down() -> None:
    critic = shipped_critic()
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    large = pictures.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    speckle = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).tile(64, 64) / 8  # which averaging takes away
    torch.testing.assert_close(FrozenCritic(critic, 128)(large + speckle), critic(pictures), rtol=0, atol=2e-4)
    assert FrozenCritic(critic, 64)(pictures).equal(critic(pictures))
    with pytest.raises(ValueError, match="96 pixels"):
        FrozenCritic(critic, 96)


def test_twelve_photos_follow_the_rule(folders: tuple[Path, Path], tmp_path: Path) -> None:
    paths = [Path(f"{i:03}") for i in range(100)]
    assert [path.name for path in chosen(paths)] == [f"{i:03}" for i in (0, 9, 18, 27, 36, 45, 54, 63, 72, 81, 90, 99)]
    assert chosen(paths[:5]) == paths[:5]
    done = script("twelve_photos", folders[0], "--targets", folders[1], "-o", tmp_path / "figure.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("figure.png: 0.png, 1.png, 2.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    nothing = script("twelve_photos", folders[0] / "none", "-o", tmp_path / "other.png")
    assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "other.png").exists()

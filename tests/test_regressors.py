"""The one-pass regressors: tables interpolate exactly, both begin by changing nothing, learn, and are kept."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_tools import photograph
from numpy.typing import NDArray
from test_paper_table import script

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from regressors import REGRESSORS, SMOKE, LutRegressor, ParameterRegressor, identity_table, look_up, retouch, train

from exposure_gym.color import srgb_encode
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.rewards import shipped_critic


def pictures(count: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random((count, 3, 16, 16), np.float32)


def pairs(size: int = 20) -> Photos:
    """Display values, and the same brightened by a curve."""
    before = np.random.default_rng(0).random((8, 3, size, size), np.float32) * np.float32(0.8)
    names = [str(i) for i in range(8)]
    after = PhotoSet(np.sqrt(before), "display", names)
    return Photos(PhotoSet(before, "display", names), after, paired=True, display_inputs=True)


def test_a_table_of_a_linear_map_gives_that_map_and_knows_its_channels() -> None:
    red, green, blue = identity_table(4)
    table = torch.stack([0.5 * red + 0.1, green - 0.2 * blue, blue])
    image = torch.from_numpy(pictures(2))
    expected = torch.stack([0.5 * image[:, 0] + 0.1, image[:, 1] - 0.2 * image[:, 2], image[:, 2]], dim=1)
    torch.testing.assert_close(look_up(torch.stack([table, table]), image), expected, atol=1e-5, rtol=0.0)


def test_points_of_a_table_are_met_exactly() -> None:
    table = torch.rand(1, 3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    colour = torch.tensor([0.5, 1.0, 0.0])  # red, green, blue
    found = look_up(table, colour[None, :, None, None])[0, :, 0, 0]
    torch.testing.assert_close(found, table[0, :, 0, 2, 1])


@pytest.mark.parametrize("kind", ["lut", "cnn"])
def test_it_begins_with_nearly_no_change(kind: str) -> None:
    model = REGRESSORS[kind](SMOKE, True)
    model.initialise(torch.Generator().manual_seed(0))
    image = torch.from_numpy(pictures(3))
    with torch.no_grad():
        change = (model(image) - image).abs().mean()
    assert change < 0.25
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_table_gets_light_as_a_screen_shows_it() -> None:
    model = LutRegressor(SMOKE, display=False)
    with torch.no_grad():
        model.weights.weight.zero_()
        model.weights.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    light = torch.from_numpy(pictures(2))
    torch.testing.assert_close(model(light), srgb_encode(light), atol=1e-5, rtol=0.0)
    steps = 3 * (1 / 3) * (1 / 3) * (1 / 4) ** 2  # of one of three tables, along each axis of one channel in three
    assert float(model.regularisation().detach()) == pytest.approx(1e-4 * steps, rel=1e-4)


def test_the_network_gives_all_39_parameters() -> None:
    model = ParameterRegressor(SMOKE, display=True)
    actions = torch.cat(model.actions(torch.from_numpy(pictures(5))), dim=1)
    assert actions.shape == (5, 39)
    assert actions.abs().max() <= 1.0


@pytest.mark.parametrize("kind", ["lut", "cnn"])
def test_pairs_teach_their_curve(kind: str) -> None:
    photos = pairs()
    settings = replace(SMOKE, iterations=200, learning_rate=1e-2, batch_size=8)
    model = train(kind, "paired", photos, settings, seed=0)
    before, after = photos.sample_pairs(8, np.random.default_rng(5), 16)
    result = retouch(model, before.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.square(result - after).mean() < 0.15 * np.square(before - after).mean()


@pytest.mark.parametrize(("kind", "training"), [("lut", "unpaired"), ("cnn", "unpaired"), ("cnn", "frozen")])
def test_one_seed_one_model(kind: str, training: str) -> None:
    settings = replace(SMOKE, iterations=3)
    first, again, other = (train(kind, training, pairs(), settings, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert all(value.isfinite().all() for value in first.values())


def test_the_frozen_critic_is_pleased_and_stays_as_it_is() -> None:
    critic = shipped_critic()
    before = {key: value.clone() for key, value in critic.state_dict().items()}
    settings = replace(SMOKE, size=64, batch_size=8, learning_rate=3e-3)
    photos = pairs(64)
    untaught, taught = (train("cnn", "frozen", photos, replace(settings, iterations=n), 0) for n in (1, 20))
    image = torch.from_numpy(photos.inputs.sample(8, np.random.default_rng(0), 64))
    with torch.no_grad():
        assert critic(taught(image)).mean() > critic(untaught(image)).mean()
    assert all(torch.equal(value, before[key]) for key, value in critic.state_dict().items())
    assert not any(parameter.grad is not None for parameter in critic.parameters())


def test_rows_are_made_once_and_kept(tmp_path: Path) -> None:
    for i in range(3):
        photograph(tmp_path / f"inputs/{i}.png", i)
        photograph(tmp_path / f"targets/{i}.png", i + 10)
    folders = [("--inputs", "inputs"), ("--targets", "targets"), ("--train-inputs", "inputs"), ("--runs", "runs")]
    folders += [("--train-targets", "targets"), ("--out", "out")]
    given: list[object] = [word for option, name in folders for word in (option, tmp_path / name)]
    given += ["--seeds", 2, "--iterations", 2, "--smoke", "--device", "cpu"]
    first = script("regressors", "sintel", "all", *given)
    assert first.returncode == 0, first.stderr
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}
    assert len(kept) == 2 * 2 * 2
    second = script("regressors", "fivek", "lut", "--reading", "raw-like", *given)
    assert second.returncode == 0, second.stderr
    again = script("regressors", "sintel", "cnn", "--training", "paired", *given)
    assert again.returncode == 0, again.stderr
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").iterdir()}.items()
    report = json.loads((tmp_path / "out" / "regressors.json").read_text(encoding="utf-8"))
    assert [(row["set"], row["name"]) for row in report["rows"]] == [
        ("fivek", "image-adaptive 3D LUT, unpaired"),
        ("sintel", "image-adaptive 3D LUT, unpaired"),
        ("sintel", "image-adaptive 3D LUT, paired"),
        ("sintel", "CNN, all 39 parameters at once, unpaired"),
        ("sintel", "CNN, all 39 parameters at once, paired"),
    ]
    assert report["settings"]["smoke"] is True
    for row in report["rows"]:
        assert len(row["mean"]["runs"]) == row["training_seeds"] == 2
        assert ("psnr" in row) == (row["set"] == "sintel")
    assert str(tmp_path) not in json.dumps(report)
    given.remove("--smoke")  # other settings
    other = script("regressors", "sintel", "cnn", *given)
    assert other.returncode == 1
    assert "was trained otherwise" in other.stderr
    assert other.stderr.count("\n") == 1


def test_pairs_are_asked_of_pairs_only(tmp_path: Path) -> None:
    names = ("train-inputs", "train-targets", "inputs", "targets", "runs")
    words = [word for name in names for word in (f"--{name}", ".")]
    done = script("regressors", "fivek", "lut", "--training", "paired", *words)
    assert done.returncode == 1
    assert "only the photographs of sintel are pairs" in done.stderr

"""Which photographs a training by command learns from, how they are read, and that its model remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import TINY, photograph, run, write_tiny_preset
from dng import dng
from typer.testing import Result

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import read_curve
from exposure_gym.cli.presets import PresetError, load_preset
from exposure_gym.cli.runs import ZeroReward, read_config, read_photos
from exposure_gym.data import Photos, PhotoSet, crops
from exposure_gym.data.fivek import FORMAT, fold_ids, pack_order
from exposure_gym.data.folders import PhotoOptions
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.model_file import ModelError, read_model, write_model
from exposure_gym.photo import read_display, read_linear
from exposure_gym.recipe import Recipe

AGENT = "exposure-gym agent 1"


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs before and after, of one name, and presets for a training that takes a second."""
    folder = tmp_path_factory.mktemp("studio")
    for i in range(4):
        photograph(folder / f"inputs/{i}.png", i, size=(80, 100))
        photograph(folder / f"targets/{i}.jpg", 10 + i, size=(80, 100))
    write_tiny_preset(folder / "linear.toml", 2)
    tables = {"display": 'inputs = "display"\ntarget_crops = 4', "raw-like": 'inputs = "raw-like"\ninput_crops = 2'}
    for name, table in tables.items():
        text = (folder / "linear.toml").read_text()
        (folder / f"{name}.toml").write_text(f"{text}\n[photos]\n{table}\n")
    return folder


def train(studio: Path, out: Path, preset: str, *more: object, folders: bool = True) -> Result:
    options: list[object] = ["--preset", studio / f"{preset}.toml", "--seed", 3, "--threads", 1, "--device", "cpu"]
    if folders:
        options += ["--inputs", studio / "inputs", "--targets", studio / "targets"]
    return run("train", "-o", out, *options, *more)


@pytest.fixture(scope="module")
def frames(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that starts from display values."""
    out: Path = tmp_path_factory.mktemp("frames") / "run"
    done = train(studio, out, "display")
    assert done.exit_code == 0, done.output
    return out


def test_film_frames_are_read_as_they_are(frames: Path, studio: Path) -> None:
    photos = Photos(
        PhotoSet.from_folder(studio / "inputs", "display", crops=4),
        PhotoSet.from_folder(studio / "targets", "display", crops=4),
        display_inputs=True,
    )
    agent = ExposureAgent(env=PhotoRetouchEnv(photos, reward=ZeroReward()), seed=3, device="cpu", **TINY)
    agent.learn(2 * TINY["batch_size"])
    saved, _ = read_model(frames / "checkpoint-000002.safetensors", AGENT)
    for name, weights in agent.policy.state_dict().items():
        assert torch.equal(saved[f"policy.{name}"], weights), name


def test_a_model_remembers_how_its_inputs_were_read(frames: Path, studio: Path, tmp_path: Path) -> None:
    assert ExposureAgent.load(frames, device="cpu").reading == "display"
    for name in ("0.png", "0.tif"):
        source = photograph(tmp_path / name, 0, size=(70, 60))
        done = run("retouch", source, "-o", tmp_path / "out", "--model", frames, "--force")
        assert done.exit_code == 0, done.output
        recipe = Recipe.load(tmp_path / "out" / "0.recipe.json")
        assert recipe.comment == "for the photo as read with its display values, not linearised"
        expected = recipe.apply_photo(read_display(source).pixels).clip(0, 1)
        np.testing.assert_allclose(read_display(tmp_path / "out" / name).pixels, expected, atol=0.51 / 255)
    assert run("retouch", source, "-o", tmp_path / "dark", "--model", frames, "--brightness", "as-is").exit_code == 0
    assert Recipe.load(tmp_path / "dark" / "0.recipe.json").comment.endswith("as-is")


def test_finished_photographs_can_be_darkened(studio: Path, tmp_path: Path) -> None:
    assert train(studio, tmp_path / "run", "raw-like").exit_code == 0
    assert ExposureAgent.load(tmp_path / "run", device="cpu").reading == "raw-like"
    source = photograph(tmp_path / "0.tif", 0)
    assert run("retouch", source, "-o", tmp_path / "out", "--model", tmp_path / "run").exit_code == 0
    recipe = Recipe.load(tmp_path / "out" / "0.recipe.json")
    expected = recipe.apply_photo(read_linear(source, brightness="raw-like").pixels).clip(0, 1)
    np.testing.assert_allclose(read_display(tmp_path / "out" / "0.tif").pixels, expected, atol=1e-4)
    photos = read_photos(read_config(tmp_path / "run")[0]).photos
    np.testing.assert_array_equal(
        photos.inputs.crops,
        PhotoSet.from_folder(studio / "inputs", "linear", crops=2, brightness="raw-like").crops,
    )


def test_models_of_an_unknown_reading_are_refused(frames: Path, tmp_path: Path) -> None:
    tensors, config = read_model(frames / "policy.safetensors", AGENT)
    write_model(tmp_path / "other", tensors, AGENT, config | {"reading": "infrared"})
    with pytest.raises(ModelError, match="read in a way this version does not know"):
        ExposureAgent.load(tmp_path / "other", device="cpu")
    del config["reading"]  # as older models
    write_model(tmp_path / "old", tensors, AGENT, config)
    assert ExposureAgent.load(tmp_path / "old", device="cpu").reading == "linear"


def test_raw_files_train_and_are_retouched(studio: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for i in range(2):
        light = read_linear(studio / f"inputs/{i}.png").pixels * 0.3
        (raw / f"{i}.dng").write_bytes(dng(light))
    folders = ["--inputs", raw, "--targets", studio / "targets"]
    done = train(studio, tmp_path / "run", "linear", *folders, "--paired", folders=False)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("has no partner of its name") == 2
    photos = read_photos(read_config(tmp_path / "run")[0]).photos
    assert photos.paired
    assert photos.inputs.names == photos.targets.names == ("0.dng",) * 4 + ("1.dng",) * 4
    done = run("retouch", raw, "-o", tmp_path / "out", "--model", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"{i}.{kind}" for i in range(2) for kind in ("recipe.json", "steps.png", "tif")
    ]
    recipe = Recipe.load(tmp_path / "out/1.recipe.json")
    expected = recipe.apply_photo(read_linear(raw / "1.dng").pixels).clip(0, 1)
    np.testing.assert_allclose(read_display(tmp_path / "out/1.tif").pixels, expected, atol=1e-4)


def test_a_part_of_the_files_is_kept_for_measuring(studio: Path, tmp_path: Path) -> None:
    done = train(studio, tmp_path / "run", "linear", "--test-fraction", 0.25)
    assert done.exit_code == 0, done.output
    assert "held_out" in read_curve(tmp_path / "run/log.jsonl")[0]
    training = read_photos(read_config(tmp_path / "run")[0])
    assert len(training.photos.inputs) == 3 * 4
    assert len(training.photos.targets) == 3
    assert training.held_out is not None
    assert len(training.held_out.inputs) == len(training.held_out.targets) == 5
    (left,) = {f"{i}.png" for i in range(4)} - set(training.photos.inputs.names)
    assert Path(left).with_suffix(".jpg").name not in training.photos.targets.names


def test_the_second_start_decodes_nothing(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(studio, tmp_path / "run", "linear", "--cache", tmp_path / "cache").exit_code == 0
    assert len(list((tmp_path / "cache").glob("*.crops"))) == 2
    monkeypatch.setattr(crops, "read_input", lambda *_, **__: pytest.fail("was decoded"))
    assert run("train", "--resume", tmp_path / "run", "--device", "cpu").exit_code == 0
    assert train(studio, tmp_path / "other", "linear", "--cache", tmp_path / "cache").exit_code == 0


def test_a_cache_that_cannot_be_written_is_one_line(studio: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = train(studio, tmp_path / "run", "linear", "--cache", tmp_path / "file")
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "choose another folder for the cache" in done.stderr
    assert not (tmp_path / "run").exists()


def pack(folder: Path, ids: tuple[int, ...]) -> Path:
    """A small FiveK pack."""
    ordered = sorted(ids, key=pack_order)
    rng = np.random.default_rng(0)
    folder.mkdir()
    np.save(folder / "inputs.npy", rng.random((4 * len(ids), 3, 80, 80), np.float32) * 0.3)
    np.save(folder / "expert_a.npy", rng.random((len(ids), 3, 80, 80), np.float32))
    names = [f"a{number:04d}-x.dng" for number in ordered]
    index = {"format": FORMAT, "source": "original", "size": 80, "crops": 4, "inputs": names, "targets": {"A": names}}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(("test", "measured"), [((), 0), ((14,), 4), ((14, 126), 4), ((126,), 4), ((14, 2053), 8)])
def test_a_fivek_pack_is_trained_on_in_its_folds(
    test: tuple[int, ...], measured: int, frames: Path, studio: Path, tmp_path: Path
) -> None:
    some, _ = read_config(frames)
    source = pack(tmp_path / "pack", (1, 254, 350, 1525, 5000, *test))
    settings = replace(some, inputs=None, targets=None, fivek=str(source), expert="A")
    training = read_photos(settings)
    assert {int(name[1:5]) for name in training.photos.inputs.names} == {1, 254, 350} <= set(fold_ids("train-inputs"))
    assert {int(name[1:5]) for name in training.photos.targets.names} == {1525, 5000} <= set(fold_ids("train-targets"))
    assert (0 if training.held_out is None else len(training.held_out.inputs)) == measured
    if test == (14,):
        done = train(studio, tmp_path / "run", "linear", "--fivek", source, "--expert", "a", folders=False)
        assert done.exit_code == 0, done.output
        assert ExposureAgent.load(tmp_path / "run", device="cpu").working_space == "prophoto"
        assert run("train", "--resume", tmp_path / "run", "--device", "cpu").exit_code == 0
        done = train(studio, tmp_path / "c", "linear", "--fivek", source, folders=False)
        assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
        assert "holds no photographs of expert C" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fivek", "pack", "--inputs", "a", "--targets", "b"], "two sources of photographs"),
        (["--paired"], "are for folders of your own"),
        (["--test-fraction", 0.1], "are for folders of your own"),
        (["--test-fraction", 0.1, "--fivek", "pack"], "are for folders of your own"),
        (
            ["--inputs", "a", "--targets", "b", "--test-inputs", "c", "--test-targets", "d", "--test-fraction", 0.1],
            "leave --test-inputs and --test-targets out",
        ),
        (["--inputs", "a"], "give both or neither"),
    ],
)
def test_sources_that_do_not_go_together(options: list[Any], said: str, studio: Path, tmp_path: Path) -> None:
    done = train(studio, tmp_path / "run", "linear", *options, folders=False)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_without_photographs_is_named(studio: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folders = ["--inputs", studio / "inputs", "--targets", tmp_path / "empty"]
    done = train(studio, tmp_path / "run", "linear", *folders, folders=False)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path / 'empty'}: no readable photograph; give a folder" in done.stderr


def test_the_presets_for_other_photographs() -> None:
    assert load_preset("paper").photos == load_preset("quick").photos == PhotoOptions()
    sintel, own = load_preset("sintel"), load_preset("own-jpeg")
    assert sintel.photos == PhotoOptions("display", input_crops=4, target_crops=4, paired=False)
    cpu = load_preset("cpu")
    assert sintel.agent == cpu.agent | {"entropy_weight": 0.01}
    assert sintel.iterations == cpu.iterations
    assert own.photos == PhotoOptions("raw-like")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('inputs = "raw"', "photos.inputs must be one of linear, raw-like, display, not 'raw'"),
        ("input_crops = -1", "photos.input_crops and photos.target_crops must be at least 0"),
        ("input_crops = 2.0", "photos.input_crops must be like 4"),
        ("paired = 1", "photos.paired must be like False"),
        ("crops = 3", "unknown key photos.crops; known: inputs, input_crops, target_crops, paired"),
    ],
)
def test_a_wrong_table_of_photos_says_what_is_wrong(table: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f"[photos]\n{table}\n")
    with pytest.raises(PresetError) as caught:
        load_preset(str(tmp_path / "mine.toml"))
    assert said in str(caught.value)

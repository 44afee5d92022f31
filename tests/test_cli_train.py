"""Training by command: what it leaves, how it goes on after a stop or a kill, and the presets."""

from __future__ import annotations

import inspect
import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_tools import TINY, photograph, run
from typer.testing import Result

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import ExposureCallback, read_curve
from exposure_gym.cli.presets import NAMES, PresetError, load_preset
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.cli.training_display import TrainingDisplay
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.model_file import read_model
from exposure_gym.recipe import Recipe


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of photographs, and a preset for a training that takes a second."""
    folder = tmp_path_factory.mktemp("studio")
    for i in range(3):
        photograph(folder / f"inputs/{i}.tif", i, size=(80, 100))
        photograph(folder / f"targets/{i}.jpg", 10 + i, size=(100, 80))
    agent, networks = dict(TINY), TINY["policy_kwargs"]
    del agent["policy_kwargs"]
    lines = ["iterations = 12", "[agent]", *(f"{k} = {v}" for k, v in agent.items()), "[agent.policy_kwargs]"]
    (folder / "tiny.toml").write_text("\n".join([*lines, *(f"{k} = {v}" for k, v in networks.items())]))
    return folder


def train(studio: Path, out: Path, *more: object) -> Result:
    options: list[object] = ["--checkpoint-every", 4, "--evaluate-every", 5, "--seed", 3, "--device", "cpu"]
    for name in ("inputs", "targets"):
        options += [f"--{name}", studio / name, f"--test-{name}", studio / name]
    return run("train", "-o", out, "--preset", studio / "tiny.toml", "--threads", 1, *options, *more)


@pytest.fixture(scope="module")
def whole(studio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that was never stopped."""
    out: Path = tmp_path_factory.mktemp("whole") / "run"
    done = train(studio, out)
    assert done.exit_code == 0, done.output
    return out


def assert_equal_runs(one: Path, other: Path) -> None:
    """Equal models, checkpoints and curves; only the time they took may differ."""
    for name in ("policy", "critic", "checkpoint-000008", "checkpoint-000012"):
        form = "exposure-gym critic 1" if name == "critic" else "exposure-gym agent 1"
        (a, about), (b, about_other) = (read_model(run / f"{name}.safetensors", form) for run in (one, other))
        assert about == about_other
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)
    curves = [[{**row, "seconds": 0} for row in read_curve(run / "log.jsonl")] for run in (one, other)]
    assert curves[0] == curves[1]


def stop_at(iteration: int, what: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let something happen in the middle of the next training."""

    def on_step(self: ExposureCallback) -> bool:
        if self.iteration == iteration:
            what()
        return True

    monkeypatch.setattr(TrainingDisplay, "_on_step", on_step)


def test_a_training_leaves_what_it_promises(whole: Path, studio: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    checkpoints = {"checkpoint-000008.safetensors", "checkpoint-000012.safetensors"}
    assert names == checkpoints | {"config.json", "log.jsonl", "policy.safetensors", "critic.safetensors"}
    config = json.loads((whole / "config.json").read_text())
    assert (config["inputs"], config["seed"], config["iterations"]) == (str(studio / "inputs"), 3, 12)
    rows = read_curve(whole / "log.jsonl")
    assert [row["iteration"] for row in rows] == [1, 5, 10, 12]
    for row in rows:
        assert {"seconds", "policy_loss", "value_loss", "critic_loss", "emd", "learning_rate"} <= row.keys()
        assert sum(row["filters"].values()) == pytest.approx(1.0, abs=1e-4)
        held_out = row["held_out"]
        assert held_out["mean"] == pytest.approx(
            (held_out["luminance"] + held_out["contrast"] + held_out["saturation"]) / 3, abs=1e-5
        )


def test_a_training_is_what_the_agent_learns_by_itself(whole: Path, studio: Path) -> None:
    photos = Photos(
        PhotoSet.from_folder(studio / "inputs", "linear"), PhotoSet.from_folder(studio / "targets", "display")
    )
    agent = ExposureAgent(env=PhotoRetouchEnv(photos, reward=ZeroReward()), seed=3, device="cpu", **TINY)
    agent.learn(12 * TINY["batch_size"])
    saved, _ = read_model(whole / "checkpoint-000012.safetensors", "exposure-gym agent 1")
    for name, weights in agent.policy.state_dict().items():
        assert torch.equal(saved[f"policy.{name}"], weights), name


def test_what_was_trained_retouches(whole: Path, tmp_path: Path) -> None:
    source = photograph(tmp_path / "in/a.png", 1)
    assert run("retouch", source, "-o", tmp_path, "--model", whole).exit_code == 0
    assert len(Recipe.load(tmp_path / "a.recipe.json")) == 5
    half = ExposureAgent.load(whole, device="cpu")
    assert half.policy_kwargs == TINY["policy_kwargs"]
    full = ExposureAgent.load(whole / "checkpoint-000012.safetensors", device="cpu")
    pairs = zip(half.policy.critic.parameters(), full.policy.critic.parameters(), strict=True)
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_training_goes_on_to_the_same_bits(
    number: signal.Signals, status: int, whole: Path, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(6, lambda: signal.raise_signal(number), patch)
        stopped = train(studio, out)
    assert stopped.exit_code == status
    assert stopped.stderr == f"exposure-gym: stopped after 6 of 12 iterations; train --resume {out}\n"
    assert not (out / "policy.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    resumed = run("train", "--resume", out, "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    rows = read_curve(out / "log.jsonl")
    assert [row["iteration"] for row in rows] == [1, 5, 10, 12]
    # Iteration 6 was in no row when the training stopped: its part of the means of the next row is lost.
    row, expected = rows.pop(2), read_curve(whole / "log.jsonl").pop(2)
    assert row["held_out"] == expected["held_out"]
    (out / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows[:2], expected, *rows[2:]]))
    assert_equal_runs(out, whole)


def test_a_killed_training_goes_on_to_the_same_bits(
    whole: Path, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def killed() -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        stop_at(11, killed, patch)
        assert isinstance(train(studio, out).exception, RuntimeError)
    # As a kill at the worst moments leaves it: the newest checkpoint cut short, another half-written beside it.
    newest = out / "checkpoint-000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:1000])
    (out / ".checkpoint-000012-ab.safetensors").write_bytes(b"half")
    with (out / "log.jsonl").open("a") as log:
        log.write('{"iteration": 11, "sec')
    resumed = run("train", "--resume", out, "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    assert f"{newest}: not a readable model file" in resumed.stderr
    assert not list(out.glob(".*"))
    assert [row["iteration"] for row in read_curve(out / "log.jsonl")] == [1, 5, 10, 12]
    (out / "log.jsonl").write_text((whole / "log.jsonl").read_text())
    assert_equal_runs(out, whole)


def test_a_training_killed_before_its_first_checkpoint_begins_anew(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text((whole / "config.json").read_text())
    assert run("train", "--resume", out, "--device", "cpu").exit_code == 0
    assert_equal_runs(out, whole)


def test_a_finished_training_stays_as_it_is(whole: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir() if path.suffix != ".safetensors"}
    weights = read_model(whole / "policy.safetensors", "exposure-gym agent 1")[0]
    assert run("train", "--resume", whole, "--device", "cpu").exit_code == 0
    assert before == {path.name: path.stat().st_mtime_ns for path in whole.iterdir() if path.name in before}
    again = read_model(whole / "policy.safetensors", "exposure-gym agent 1")[0]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_folder_holds_one_training(whole: Path, studio: Path) -> None:
    refused = train(studio, whole)
    assert refused.exit_code == 2
    assert "holds a training already" in refused.stderr


def test_other_photographs_are_another_training(studio: Path, whole: Path, tmp_path: Path) -> None:
    config = json.loads((whole / "config.json").read_text())
    config["inputs"] = str(photograph(tmp_path / "other/a.tif", 5).parent)
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text(json.dumps(config))
    refused = run("train", "--resume", out)
    assert refused.exit_code == 2
    assert "photographs have changed" in refused.stderr
    (out / "config.json").write_text("[]")
    refused = run("train", "--resume", out)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)


def test_a_broken_photo_is_left_out_of_the_training(studio: Path, tmp_path: Path) -> None:
    folder = photograph(tmp_path / "inputs/a.tif", 1).parent
    (folder / "b.tif").write_bytes(b"II*\0 no more than this")
    options = ["--targets", studio / "targets", "--preset", studio / "tiny.toml", "--iterations", 1, "--device", "cpu"]
    done = run("train", "-o", tmp_path / "run", "--inputs", folder, *options)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"exposure-gym: left out: {folder / 'b.tif'}: ")
    assert "held_out" not in read_curve(tmp_path / "run/log.jsonl")[0]


def test_a_training_that_goes_wrong_stops_and_says_what(
    studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"

    def not_a_number(self: ExposureCallback) -> bool:
        if self.iteration == 6:
            self.logger.record("train/value_loss", float("nan"))
        return True

    monkeypatch.setattr("exposure_gym.cli.training_display.TrainingDisplay._on_step", not_a_number)
    done = train(studio, out)
    assert done.exit_code == 1
    assert done.stderr.startswith("exposure-gym: train/value_loss is no number any more")
    assert [path.name for path in out.glob("*.safetensors")] == ["checkpoint-000004.safetensors"]


def test_training_without_folders_uses_the_built_in_photos(studio: Path, tmp_path: Path) -> None:
    options = ["--preset", studio / "tiny.toml", "--iterations", 1, "--device", "cpu", "--tensorboard"]
    done = run("train", "-o", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    assert "iteration 1 of 1: EMD" in done.stdout
    assert list((tmp_path / "run/tensorboard").rglob("events.*"))


# -- presets ---------------------------------------------------------------------------------------------------------


def test_the_paper_preset_is_the_agents_defaults() -> None:
    preset = load_preset("paper")
    assert preset.iterations == 20_000
    defaults = {name: p.default for name, p in inspect.signature(ExposureAgent.__init__).parameters.items()}
    networks = preset.agent.pop("policy_kwargs")
    assert {name: tuple(v) if isinstance(v, list) else v for name, v in preset.agent.items()} == {
        name: defaults[name] for name in preset.agent
    }
    left_out = {"self", "policy", "env", "policy_kwargs", "tensorboard_log", "verbose", "seed", "device"}
    assert preset.agent.keys() == defaults.keys() - left_out - {"_init_setup_model"}
    assert networks == {"base_channels": 32, "features": 4096, "hidden": 128, "dropout_keep": 0.5, "exploration": 0.05}


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_makes_an_agent(name: str) -> None:
    agent = ExposureAgent(env=PhotoRetouchEnv(reward=ZeroReward()), device="cpu", **load_preset(name).agent)
    assert agent.batch_size <= agent.pool_size


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iteration = 3", "unknown key iteration; known: iterations, agent"),
        ("iterations = 0", "at least 1"),
        ("iterations = 2.5", "iterations must be like 1"),
        ("[agent]\nlearning_rate = 1.0", "unknown key agent.learning_rate"),
        ("[agent]\nbatch_size = '64'", "agent.batch_size must be like 64, not '64'"),
        ("[agent]\nadam_betas = [0.5]", "agent.adam_betas must be like [0.5, 0.9]"),
        ("[agent]\ndiscount = true", "agent.discount must be like 1.0"),
        ("[agent]\npolicy_kwargs = 3", "agent.policy_kwargs must be like a table"),
        ("[agent.policy_kwargs]\nlayers = 3", "unknown key agent.policy_kwargs.layers"),
        ("iterations = ", "not TOML"),
    ],
)
def test_a_wrong_preset_says_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(PresetError) as caught:
        load_preset(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)

"""Training by command: what it leaves, how it goes on after a stop or a kill, and the presets."""

from __future__ import annotations

import inspect
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_tools import TINY, photograph, run, write_tiny_preset
from typer.testing import Result

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import ExposureCallback, LearningCurve, read_curve
from exposure_gym.cli.presets import NAMES, PresetError, load_preset
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.cli.training_display import TrainingDisplay
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.game import RetouchGame, Transition
from exposure_gym.model_file import read_model, write_model
from exposure_gym.recipe import Recipe


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of photographs, and a preset for a training that takes a second."""
    folder = tmp_path_factory.mktemp("studio")
    for i in range(3):
        photograph(folder / f"inputs/{i}.tif", i, size=(80, 100))
        photograph(folder / f"targets/{i}.jpg", 10 + i, size=(100, 80))
    write_tiny_preset(folder / "tiny.toml", 12)
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
    assert names == checkpoints | {"config.json", "log.jsonl", "policy.safetensors", "critic.safetensors", "sheets"}
    assert sorted(path.name for path in (whole / "sheets").iterdir()) == ["000001.png", "000012.png"]
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
    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(6, lambda: signal.raise_signal(number), patch)
        stopped = train(studio, out)
    assert stopped.exit_code == status
    assert stopped.stderr == f"exposure-gym: stopped after 6 of 12 iterations; train --resume {out}\n"
    assert not (out / "policy.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is handler
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
    (out / ".checkpoint-000012-0123abcd.safetensors").write_bytes(b"half")
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


def test_a_training_killed_at_its_very_end_is_tidied(whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "policy.safetensors").unlink()
    shutil.copy(out / "checkpoint-000008.safetensors", out / "checkpoint-000004.safetensors")
    (out / ".policy-0123abcd.safetensors").write_bytes(b"half")
    (out / ".mine-notes.txt").write_text("not of the training")
    assert run("train", "--resume", out, "--device", "cpu").exit_code == 0
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()} | {".mine-notes.txt"}
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
    assert done.stderr.startswith("exposure-gym: no number any more: train/value_loss; ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in out.glob("*.safetensors")] == ["checkpoint-000004.safetensors"]


def test_the_term_where_a_training_goes_wrong_is_named_first(
    studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transition, out = RetouchGame.transition, tmp_path / "run"

    def overexposed(self: RetouchGame, *arguments: Any) -> Transition:
        step = transition(self, *arguments)
        if list(out.glob("checkpoint-*")):
            step.penalties["overexposure"] = step.penalties["overexposure"] * float("inf") * 0.0
        return step

    monkeypatch.setattr(RetouchGame, "transition", overexposed)
    done = train(studio, out)
    assert done.exit_code == 1
    assert done.stderr.startswith("exposure-gym: no number any more: train/overexposure_penalty, ")
    assert "train/policy_loss" in done.stderr
    assert [path.name for path in out.glob("*.safetensors")] == ["checkpoint-000004.safetensors"]


def test_spoilt_weights_are_never_saved(studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is no number spoils the weights one iteration before the losses show it: here, when saving."""

    def spoil(self: ExposureCallback) -> bool:
        if self.iteration == 8:
            self.model.policy.critic.score.bias.data.fill_(float("nan"))
        return True

    monkeypatch.setattr(LearningCurve, "_on_step", spoil)
    monkeypatch.setattr(TrainingDisplay, "_on_step", lambda self: True)
    out = tmp_path / "run"
    done = train(studio, out, "--sheet-every", 4, "--evaluate-every", 4)
    assert done.exit_code == 1
    assert done.stderr.startswith("exposure-gym: no number any more: weights critic.score.bias; ")
    assert [path.name for path in out.glob("*.safetensors")] == ["checkpoint-000004.safetensors"]
    assert not (out / "sheets/000008.png").exists()


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """As on a full disk, writing fails halfway; here with EFBIG, which needs no disk to be filled."""
    resource: Any = pytest.importorskip("resource", reason="needs POSIX's limits")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_last_checkpoint(
    whole: Path, studio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    limit = ExitStack()
    with monkeypatch.context() as patch, limit:
        stop_at(7, lambda: limit.enter_context(files_no_larger_than(20_000)), patch)
        full = train(studio, out)
    assert full.exit_code == 1
    said = f"exposure-gym: {out}: cannot be written (File too large); make room, then train --resume {out} goes on\n"
    assert full.stderr == said
    assert [path.name for path in out.glob("*.safetensors")] == ["checkpoint-000004.safetensors"]
    assert not list(out.rglob(".*"))
    resumed = run("train", "--resume", out, "--device", "cpu")
    assert resumed.exit_code == 0, resumed.output
    (out / "log.jsonl").write_text((whole / "log.jsonl").read_text())
    assert_equal_runs(out, whole)


def test_a_full_disk_at_the_start_and_at_the_end(whole: Path, studio: Path, tmp_path: Path) -> None:
    with files_no_larger_than(100):
        begun = train(studio, tmp_path / "run")
    assert (begun.exit_code, begun.stderr.count("\n")) == (1, 1)
    assert "cannot be written (File too large)" in begun.stderr
    assert list((tmp_path / "run").iterdir()) == []
    before = (whole / "policy.safetensors").read_bytes()
    with files_no_larger_than(20_000):
        ended = run("train", "--resume", whole, "--device", "cpu")
    assert (ended.exit_code, ended.stderr.count("\n")) == (1, 1)
    assert (whole / "policy.safetensors").read_bytes() == before
    assert not list(whole.rglob(".*"))


def test_tensorboard_gets_scalars_and_sheets(studio: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    done = train(studio, tmp_path / "run", "--tensorboard", "--iterations", 2)
    assert done.exit_code == 0, done.output
    (folder,) = (tmp_path / "run/tensorboard").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    tags = events.Tags()
    names = ["policy_loss", "value_loss", "critic_loss", "emd", "gradient_norm", "entropy", "trajectory_length"]
    expected = {f"train/{name}" for name in names} | {"held_out/mean", "held_out/luminance", "filters/gamma"}
    assert expected <= set(tags["scalars"])
    assert [event.step for event in events.Images("sheet")] == [8, 16]  # edits, as for all that is logged
    assert events.Images("sheet")[1].encoded_image_string.startswith(b"\x89PNG")


def test_a_checkpoint_of_another_kind_of_device_goes_on(whole: Path, tmp_path: Path) -> None:
    """Its noise generator has a state that fits no generator here: fresh noise, not an error."""
    path = whole / "checkpoint-000012.safetensors"
    tensors, config = read_model(path, "exposure-gym agent 1")
    tensors["noise"] = torch.zeros(16, dtype=torch.uint8)  # as long as CUDA's
    write_model(tmp_path / "cuda.safetensors", tensors, "exposure-gym agent 1", config)
    one, other = (ExposureAgent.load(tmp_path / "cuda", device="cpu") for _ in range(2))
    assert one.num_timesteps == 12 * TINY["batch_size"]
    assert torch.equal(one.noise.get_state(), other.noise.get_state())


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
        ("iteration = 3", "unknown key iteration; known: iterations, photos, agent"),
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

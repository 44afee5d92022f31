"""The authors' models as ours: the published outputs, any network size, and one clear line for anything else."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_tools import photograph, run
from golden import PublishedGame, PublishedNetworks, assert_matches, golden, images
from numpy.typing import NDArray
from tensor_bundle import data_file, index_file, published_checkpoint, published_weights, write_checkpoint

from exposure_gym.agents.exposure import ExposureAgent, tf_import
from exposure_gym.agents.exposure.storage import AGENT_FORMAT
from exposure_gym.agents.exposure.tf_import import import_checkpoint, save_model
from exposure_gym.cli import main
from exposure_gym.cli.runs import ZeroReward
from exposure_gym.critic import CRITIC_FORMAT, load_critic
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.model_file import ModelError, read_model
from exposure_gym.recipe import Recipe
from exposure_gym.rewards import CriticReward

Arrays = dict[str, NDArray[Any]]
REAL = Path(__file__).parents[2] / "shared" / "reference" / "tf_checkpoint" / "model.ckpt-20000"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small published networks as TensorFlow saved them."""
    return published_checkpoint(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a model of ours."""
    folder: Path = tmp_path_factory.mktemp("imported") / "made" / "model"
    save_model(import_checkpoint(checkpoint), folder)
    return folder


def weights_of(agent: ExposureAgent) -> dict[str, torch.Tensor]:
    return agent.policy.state_dict()


def equal_weights(first: ExposureAgent, second: ExposureAgent) -> bool:
    a, b = weights_of(first), weights_of(second)
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


# -- what is imported --------------------------------------------------------------------------------------------------


def assert_published(agent: ExposureAgent) -> None:
    """Everything the published networks say of the stored batch, to 1e-4."""
    data = golden("forward_small")
    networks = PublishedNetworks(PublishedGame(), agent.policy.actor, agent.policy.value, agent.policy.critic)
    with torch.no_grad():
        assert_matches(networks.critic(images(data["in/real"])), data["train0/real_logit"], 1e-4)
    for train in ("train0", "train1"):
        losses = networks.losses(train)
        going_on = ~losses.transition.terminated
        value_after = (losses.q_value - losses.reward)[going_on]
        for ours, theirs in (
            (losses.probabilities, data[f"{train}/pdf"]),
            (losses.filter_index, data[f"{train}/selected_filter_id"]),
            (losses.transition.state.image[:, :, ::4, ::4], images(data[f"{train}/output"])),
            (losses.score_before, data[f"{train}/fake_input_logit"]),
            (losses.score_after, data[f"{train}/fake_logit"]),
            (losses.q_value - losses.advantage, data[f"{train}/old_value"]),
            (value_after, data[f"{train}/new_value_masked"][going_on.numpy()]),
        ):
            assert_matches(ours, theirs, 1e-4)
        for i, (filter_, block) in enumerate(zip(networks.game.filters, networks.game.blocks, strict=True)):
            published = data[f"{train}/filter_params/{i}"].reshape(8, -1)
            assert_matches(filter_.physical(losses.parameters[:, block]), published, 1e-4, filter_.name)


def test_outputs_are_the_published_ones(checkpoint: Path, model: Path) -> None:
    assert_published(import_checkpoint(checkpoint))
    assert_published(ExposureAgent.load(model, device="cpu"))


@pytest.mark.skipif(not REAL.with_name(REAL.name + ".index").exists(), reason="the reference checkpoint is not here")
def test_outputs_of_the_reference_checkpoint(checkpoint: Path) -> None:
    agent = import_checkpoint(REAL)
    assert_published(agent)
    assert equal_weights(agent, import_checkpoint(checkpoint))


def published_layout(agent: ExposureAgent) -> Arrays:
    """The agent's weights by published names, in published order, written the other way round than the import."""
    scopes = {
        "actor.filter_encoder": "generator",
        "actor.selector_encoder": "generator/action_selection",
        "actor.selector_hidden": "generator/action_selection/selector_fc1",
        "actor.selector_output": "generator/action_selection/selector_fc2",
        "critic.encoder": "critic",
        "critic.hidden": "critic/fully_connected",
        "critic.score": "critic/fully_connected_1",
        "value.encoder": "rl_value/critic",
        "value.hidden": "rl_value/critic/fully_connected",
        "value.score": "rl_value/critic/fully_connected_1",
    }
    scopes |= {f"actor.filter_hidden.{i}": f"generator/filter_{i}/fc1" for i in range(8)}
    scopes |= {f"actor.filter_output.{i}": f"generator/filter_{i}/fc2" for i in range(8)}
    arrays: Arrays = {}
    for name, value in weights_of(agent).items():
        layer, kind = name.rsplit(".", 1)
        layer, _, number = layer.partition(".convolutions.")
        scope = scopes[layer] + ("" if not number else "/Conv" if number == "0" else f"/Conv_{number}")
        if value.ndim == 4:
            value = value.permute(2, 3, 1, 0)
        elif value.ndim == 2 and "hidden" in layer:
            value = value.reshape(len(value), -1, 4, 4).permute(2, 3, 1, 0).flatten(0, 2)
        elif value.ndim == 2:
            value = value.T
        arrays[f"{scope}/{'weights' if kind == 'weight' else 'biases'}"] = value.numpy().copy()
    return arrays


def test_that_layout_is_the_published_one(checkpoint: Path) -> None:
    arrays, published = published_layout(import_checkpoint(checkpoint)), published_weights()
    assert arrays.keys() == published.keys()
    assert all(np.array_equal(values, published[name]) for name, values in arrays.items())


def an_agent(image_size: int, **widths: int) -> ExposureAgent:
    crops = np.random.default_rng(0).random((2, 3, image_size, image_size), dtype=np.float32)
    photos = Photos(PhotoSet(crops, "linear", "ab"), PhotoSet(crops, "display", "ab"))
    env = PhotoRetouchEnv(photos, reward=ZeroReward(), image_size=image_size)
    agent = ExposureAgent(env=env, seed=3, device="cpu", policy_kwargs=widths)
    with torch.no_grad():
        for value in agent.policy.parameters():  # biases begin as zeros
            value.add_(torch.rand(value.shape, generator=torch.Generator().manual_seed(value.numel())))
    return agent


@pytest.mark.parametrize(
    ("image_size", "widths"),
    [
        (8, {"base_channels": 2, "features": 16, "hidden": 1}),
        (32, {"base_channels": 4, "features": 48, "hidden": 6}),
        (128, {"base_channels": 1, "features": 256, "hidden": 3}),
    ],
)
def test_any_size_is_read_off_the_weights(image_size: int, widths: dict[str, int], tmp_path: Path) -> None:
    agent = an_agent(image_size, **widths)
    save_model(import_checkpoint(write_checkpoint(tmp_path / "model", published_layout(agent), shards=3)), tmp_path)
    again = ExposureAgent.load(tmp_path, device="cpu")
    assert equal_weights(again, agent)
    assert again.policy.critic.image_size == image_size
    assert again.policy_kwargs == widths


def test_what_is_no_weight_is_left_aside(tmp_path: Path) -> None:
    weights = published_weights()
    others = {
        "global_step": np.array(20_000),
        "Variable_1": np.array(7, np.int32),
        "OptimizeLoss/beta1_power": np.array(0.5, np.float32),
        "OptimizeLoss/generator/Conv/weights/Adam": np.full((4, 4, 14, 4), np.nan, np.float32),
        "generator/Conv/weights/Adam_1": np.ones((4, 4, 14, 4), np.float32),
        "critic/fully_connected_1/biases/Momentum": np.ones(1, np.float32),
    }
    prefix = write_checkpoint(tmp_path / "model", weights | others)
    assert_published(import_checkpoint(prefix))


# -- the model is one like any other -----------------------------------------------------------------------------------


def test_the_model_plays_the_published_game(model: Path) -> None:
    agent = ExposureAgent.load(model, device="cpu")
    assert agent.working_space == "prophoto"
    assert agent.game.image_limit is None
    assert agent.game.max_steps == 5
    assert agent.policy_kwargs == {"base_channels": 4, "features": 128, "hidden": 16}
    assert all(value.dtype == torch.float32 for value in weights_of(agent).values())
    data = golden("forward_small")
    state = agent.game.start(images(data["in/images"]))
    for i in range(5):
        index, parameters, policy = agent.policy.act(state, None)
        assert_matches(policy.probabilities, data[f"rollout/{i}/pdf"], 1e-4)
        state = agent.game.transition(state, index, parameters).state
    assert_matches(state.image[:, :, ::4, ::4], images(data["rollout/4/output"]), 1e-4)


def test_its_critic_is_a_reward(model: Path) -> None:
    data = golden("forward_small")
    reward = CriticReward(load_critic(model / "critic.safetensors"), name="published")
    assert_matches(reward.potential(images(data["in/images"])), 0.05 * data["train0/fake_input_logit"], 1e-4)
    crops = np.full((2, 3, 64, 64), 0.2, np.float32)
    photos = Photos(PhotoSet(crops, "linear", "ab"), PhotoSet(crops, "display", "ab"))
    env = PhotoRetouchEnv(photos, reward=reward)
    env.reset(seed=0)
    _, _, _, _, info = env.step(env.action_space.sample())
    assert "published" in info["rewards"]


def test_it_can_go_on_learning(model: Path) -> None:
    crops = np.random.default_rng(0).random((4, 3, 64, 64), dtype=np.float32)
    photos = Photos(PhotoSet(crops, "linear", "abcd"), PhotoSet(crops, "display", "abcd"))
    env = PhotoRetouchEnv(photos, reward=ZeroReward())
    changes = {"batch_size": 4, "pool_size": 8, "critic_updates": 1, "burst_iterations": 0, "warmup_rollouts": 8}
    agent = ExposureAgent.load(model, env=env, device="cpu", critic_burst=1, **changes)
    agent.learn(8)
    assert not equal_weights(agent, ExposureAgent.load(model, device="cpu"))
    assert all(value.isfinite().all() for value in weights_of(agent).values())


def assert_same_model(first: Path, second: Path) -> None:
    """Equal tensors and descriptions in both files."""
    for name, format_name in (("policy.safetensors", AGENT_FORMAT), ("critic.safetensors", CRITIC_FORMAT)):
        (tensors, config), (again, described) = (read_model(path / name, format_name) for path in (first, second))
        assert config == described
        assert tensors.keys() == again.keys()
        assert all(torch.equal(value, again[key]) for key, value in tensors.items())


def test_the_same_checkpoint_gives_the_same_model(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    save_model(import_checkpoint(checkpoint), tmp_path)
    assert_same_model(tmp_path, model)


def test_a_write_that_fails_leaves_the_old_model(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = ExposureAgent.load(model, device="cpu")
    save_model(agent, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with torch.no_grad():
        agent.policy.critic.score.bias.add_(1.0)
    monkeypatch.setattr(tf_import, "write_model", full)
    with pytest.raises(OSError, match="No space"):
        save_model(agent, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# -- what is refused ---------------------------------------------------------------------------------------------------


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda weights: {key: value for key, value in weights.items() if key != name}


def with_(name: str, array: NDArray[Any]) -> Callable[[Arrays], Arrays]:
    return lambda weights: weights | {name: array}


def renamed(pattern: str, to: str) -> Callable[[Arrays], Arrays]:
    return lambda weights: {re.sub(pattern, to, key): value for key, value in weights.items()}


ONES = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: {"layer/kernel": ONES}, "no variable 'critic/Conv/weights'"),
        (without("generator/Conv/weights"), "no variable 'generator/Conv/weights'"),
        (without("generator/filter_0/fc1/weights"), "no variable 'generator/filter_0/fc1/weights'"),
        (without("generator/filter_7/fc2/biases"), "no variable 'generator/filter_7/fc2/biases'"),
        (without("rl_value/critic/Conv_3/weights"), "no variable 'rl_value/critic/Conv_3/weights'"),
        (renamed("^critic/", "discriminator/"), "no variable 'critic/Conv/weights'"),
        (renamed("^generator/Conv_2/", "generator/Conv_4/"), "no variable 'generator/Conv_2/weights'"),
        (with_("generator/filter_8/fc1/weights", ONES), "a variable 'generator/filter_8/fc1/weights' too"),
        (with_("critic/Conv_4/weights", ONES), "a variable 'critic/Conv_4/weights' too"),
        (with_("generator/Conv/weights", ONES), "'generator/Conv/weights' has shape (4,)"),
        (with_("critic/Conv/weights", ONES), "'critic/Conv/weights' has shape (4,)"),
        (with_("critic/Conv/weights", np.ones((4, 4, 14, 0), np.float32)), "not possible: convolutions 4"),
        (with_("critic/Conv/weights", np.ones((4, 4, 6, 5), np.float32)), "'generator/Conv/weights' has shape"),
        (with_("generator/filter_0/fc1/weights", np.ones((120, 16), np.float32)), "features 120"),
        (with_("generator/filter_0/fc1/weights", np.ones((256, 16), np.float32)), "'generator/Conv_3/weights' has"),
        (with_("generator/filter_4/fc2/biases", ONES), "has shape (4,) where (14,) is needed"),
        (with_("critic/Conv/biases", np.ones(4)), "'critic/Conv/biases' is float64"),
        (with_("critic/Conv/biases", np.ones(4, np.int32)), "'critic/Conv/biases' is int32"),
        (with_("critic/Conv/biases", np.array([1, 2, np.nan, 4], np.float32)), "'critic/Conv/biases' is not finite"),
        (lambda weights: weights | {f"generator/Conv_{i}/weights": ONES for i in range(4, 99)}, "convolutions 99"),
    ],
)
def test_other_models_are_refused(change: Callable[[Arrays], Arrays], reason: str, tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "model", change(published_weights()))
    with pytest.raises(ModelError) as caught:
        import_checkpoint(prefix)
    assert reason in str(caught.value)
    assert str(prefix) in str(caught.value)
    assert "\n" not in str(caught.value)


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_command_and_what_it_is_for(checkpoint: Path, model: Path, tmp_path: Path) -> None:
    """The two commands that retouch a photo with the authors' model."""
    done = run("import-tf", checkpoint, "-o", tmp_path / "a" / "model")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "70,834 weights, for pictures of 64 pixels" in done.stdout
    assert {path.name for path in (tmp_path / "a" / "model").iterdir()} == {"policy.safetensors", "critic.safetensors"}
    assert_same_model(tmp_path / "a" / "model", model)
    photo = photograph(tmp_path / "photo.tif", 0)
    done = run("retouch", photo, "-o", tmp_path / "out", "--model", tmp_path / "a" / "model")
    assert (done.exit_code, done.stderr) == (0, "")
    recipe = Recipe.load(tmp_path / "out" / "photo.recipe.json")
    assert recipe.working_space == "prophoto"
    assert len(recipe.edits) == 5


def test_the_working_space_can_be_said(checkpoint: Path, tmp_path: Path) -> None:
    assert run("import-tf", index_file(checkpoint), "-o", tmp_path, "--working-space", "srgb").exit_code == 0
    assert ExposureAgent.load(tmp_path, device="cpu").working_space == "srgb"


def test_a_model_is_replaced_only_by_force(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "critic.safetensors").write_bytes(b"mine")
    done = run("import-tf", checkpoint, "-o", tmp_path)
    assert done.exit_code == 2
    assert "critic.safetensors: exists already" in done.stderr
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"mine"]
    assert run("import-tf", checkpoint, "-o", tmp_path, "--force").exit_code == 0
    assert load_critic(tmp_path / "critic.safetensors").image_size == 64


@pytest.mark.parametrize("damage", ["missing", "folder", "index", "data", "cut", "output"])
def test_what_is_wrong_is_one_line(
    damage: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = tmp_path / "model"
    for file in (index_file, data_file):
        file(prefix).write_bytes(file(checkpoint).read_bytes())
    path = data_file(prefix) if damage in ("data", "cut") else index_file(prefix)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1000])
    elif damage in ("index", "data"):
        contents = bytearray(path.read_bytes())
        contents[len(contents) * 3 // 4] ^= 4
        path.write_bytes(contents)
    output = tmp_path / "out"
    if damage == "output":
        output.write_bytes(b"")
    assert main(["import-tf", str(tmp_path if damage == "folder" else prefix), "-o", str(output)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert str(output if damage == "output" else tmp_path if damage == "folder" else path) in err
    assert not output.is_dir()


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from exposure_gym.cli import main; status = main(['import-tf', '--help']);"
        "heavy = {'torch', 'stable_baselines3', 'imagecodecs', 'cv2'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "CHECKPOINT_PREFIX" in done.stdout

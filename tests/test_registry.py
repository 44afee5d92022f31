"""What holds for every registered environment: other people's checkers, copies, processes, documentation."""

from __future__ import annotations

import copy
import hashlib
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AsyncVectorEnv
from stable_baselines3.common.env_checker import check_env as sb3_check

import exposure_gym
from exposure_gym.envs import FlatAction, PhotoRetouchEnv, PhotoRetouchVectorEnv, PreviewObservation
from exposure_gym.recipe import Edit, Recipe

IDS = [spec.id for spec in gym.registry.values() if str(spec.entry_point).startswith("exposure_gym")]

LET_THROUGH = {
    "image but its `dtype` is": "the picture is linear light: 8 bits would lose its shadows (PreviewObservation has 8)",
    "bounds are not in": "the same: 1.0 is white and 16 four stops over it",
    "action space is not based off a numpy array": "PhotoRetouch-v0 is the hybrid game; the other ids are for SB3",
}
"""Parts of Stable-Baselines3's warnings that environments may earn, and why."""


def play(env: gym.Env[Any, Any], seed: int) -> list[Any]:
    """One episode of random actions: observations, rewards and infos."""
    env.action_space.seed(seed)
    heard: list[Any] = list(env.reset(seed=seed))
    over = False
    while not over:
        observation, reward, terminated, over, info = env.step(env.action_space.sample())
        over = terminated or over
        heard += [observation, reward, terminated, info]
    return heard


def digest(heard: list[Any]) -> str:
    """Every bit of an episode."""

    def flat(value: Any) -> bytes:
        if isinstance(value, dict):
            return b"".join(key.encode() + flat(value[key]) for key in sorted(value))
        return value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()

    return hashlib.sha256(b"".join(map(flat, heard))).hexdigest()


def test_there_are_three() -> None:
    assert IDS == ["PhotoRetouch-v0", "PhotoRetouchBox-v0", "PhotoRetouchDiscrete-v0"]
    assert exposure_gym.__version__


@pytest.mark.parametrize("options", [{}, {"masks": True, "stop_action": True, "max_steps": 3, "image_size": 24}])
@pytest.mark.parametrize("id", IDS)
def test_gymnasium_checker(id: str, options: dict[str, Any]) -> None:
    gymnasium_check(gym.make(id, render_mode="rgb_array", **options).unwrapped)  # warnings are errors here


@pytest.mark.parametrize("id", IDS)
def test_stable_baselines3_checker(id: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sb3_check(gym.make(id, render_mode="rgb_array"), skip_render_check=False)
    messages = {str(warning.message) for warning in caught}
    assert all(any(part in message for part in LET_THROUGH) for message in messages), messages
    hybrid = any("numpy array" in message for message in messages)
    assert hybrid == (id == "PhotoRetouch-v0")


@pytest.mark.parametrize("id", IDS[1:])
def test_stable_baselines3_checker_has_nothing_to_say_about_previews(id: str) -> None:
    sb3_check(PreviewObservation(gym.make(id)))


@pytest.mark.parametrize("id", IDS)
def test_made_by_every_way(id: str) -> None:
    env = gym.make(f"exposure_gym:{id}", max_episode_steps=2, image_size=24)
    assert isinstance(env.unwrapped, PhotoRetouchEnv)
    heard = play(env, 0)
    assert heard[-2] is False  # truncated after two steps, not terminated
    assert len(heard) == 2 + 2 * 4
    assert env.spec is not None
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert data_equivalence(play(again, 0), heard, exact=True)
    assert isinstance(gym.make_vec(id, num_envs=2), PhotoRetouchVectorEnv)


def test_one_seed_one_episode_here_and_in_another_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import gymnasium as gym, test_registry as t; print(*(t.digest(t.play(gym.make(id), 3)) for id in t.IDS))"
    )
    here = str(Path(__file__).parent)
    other = subprocess.run([sys.executable, "-c", program, here], capture_output=True, text=True, check=True)
    assert [digest(play(gym.make(id), 3)) for id in IDS] == other.stdout.split()
    assert digest(play(gym.make(IDS[0]), 4)) not in other.stdout


@pytest.mark.parametrize("id", IDS)
def test_copies_and_pickles_play_on_alike(id: str) -> None:
    env = gym.make(id, image_size=16, reward="reference")
    env.reset(seed=5)
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    env.action_space.seed(0)
    action = env.action_space.sample()
    expected = env.step(action)
    for twin in twins:
        assert data_equivalence(twin.step(action), expected, exact=True)


@pytest.mark.parametrize("id", IDS)
def test_batches_are_copied_and_pickled_too(id: str) -> None:
    envs = gym.make_vec(id, num_envs=2, image_size=16, max_steps=2, text=True)
    envs.reset(seed=5)
    twins = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs))]
    envs.action_space.seed(0)
    for _ in range(4):  # the third step begins new games: the generators are copied as well
        actions = envs.action_space.sample()
        expected = envs.step(actions)
        for twin in twins:
            assert data_equivalence(twin.step(actions), expected, exact=True)


@pytest.mark.parametrize(("context", "id"), [("spawn", IDS[0]), ("forkserver", IDS[1])])
def test_processes_play_the_same_games(context: str, id: str) -> None:
    options: dict[str, Any] = {"image_size": 16, "max_steps": 2}
    processes = gym.make_vec(
        f"exposure_gym:{id}",
        num_envs=2,
        vectorization_mode="async",
        vector_kwargs={"context": context},
        **options,
    )
    assert isinstance(processes, AsyncVectorEnv)
    batched = gym.make_vec(id, num_envs=2, text=True, **options)
    try:
        assert data_equivalence(processes.reset(seed=0), batched.reset(seed=0))
        batched.action_space.seed(0)
        for _ in range(4):
            actions = batched.action_space.sample()
            assert data_equivalence(processes.step(actions), batched.step(actions))
    finally:
        processes.close()


@pytest.mark.parametrize("id", IDS)
def test_stopping_ends_an_episode_and_costs_nothing(id: str) -> None:
    env = gym.make(id, image_size=16, stop_action=True).unwrapped
    assert isinstance(env, PhotoRetouchEnv)
    observation, _ = env.reset(seed=0)
    stop = env.action_from_edit(None)
    assert env.action_space.contains(stop)
    assert env.edit_from_action(stop) is None
    after, reward, terminated, truncated, info = env.step(stop)
    assert (reward, terminated, truncated, info["edit"]) == (0.0, True, False, "stop")
    assert len(Recipe.from_json(info["recipe"])) == 0
    np.testing.assert_array_equal(after["image"], observation["image"])
    assert after["step"] == 5
    assert not after["filters_used"].any()
    assert env.observation_space.contains(after)
    with pytest.raises(ResetNeeded):
        env.step(stop)
    with pytest.raises(ValueError, match="stop_action=True"):
        PhotoRetouchEnv().action_from_edit(None)


def test_a_stop_after_an_overexposing_edit_is_not_charged_again() -> None:
    env = gym.make("PhotoRetouch-v0", image_size=16, stop_action=True)
    env.reset(options={"photo": np.ones((16, 16, 3), np.float32)})
    action = {"filter": 0, "parameters": np.ones(39, np.float32)}
    _, reward, *_ = env.step(action)
    assert float(reward) < -10.0
    _, reward, _, _, info = env.step(action | {"filter": 8})
    assert reward == 0.0
    assert len(Recipe.from_json(info["recipe"])) == 1


@pytest.mark.parametrize("id", IDS)
def test_documentation_of_each_class(id: str) -> None:
    text = type(gym.make(id).unwrapped).__doc__
    assert text is not None
    headings = [line.strip()[3:] for line in text.splitlines() if line.strip().startswith("## ")]
    wanted = ["Description", "Action Space", "Observation Space", "Rewards", "Starting State", "Episode End"]
    assert [heading for heading in headings if heading != "Info"] == [*wanted, "Arguments", "Version History"]
    space = str(gym.make(id).action_space).replace(" ", "")
    size = re.findall(r"(\d+),\)|Discrete\((\d+)\)", space)
    for numbers in size:
        assert "".join(numbers) in text  # the sizes it tells are the real ones


def test_every_option_is_documented() -> None:
    import inspect

    text = PhotoRetouchEnv.__doc__ or ""
    for name in inspect.signature(PhotoRetouchEnv).parameters:
        assert f":param {name}:" in text


@pytest.mark.parametrize("id", IDS)
def test_unknown_options_are_refused(id: str) -> None:
    with pytest.raises(TypeError, match="sharpness"):
        gym.make(id, sharpness=3)
    with pytest.raises(TypeError, match="sharpness"):
        gym.make_vec(id, num_envs=2, sharpness=3)


def test_masks_of_actions_that_use_no_filter_twice() -> None:
    options: dict[str, Any] = {"image_size": 16, "filters": ["gamma", "saturation"], "reward": "reference"}
    env: Any = gym.make("PhotoRetouchDiscrete-v0", stop_action=True, **options).unwrapped
    vector: Any = gym.make_vec("PhotoRetouchDiscrete-v0", num_envs=2, stop_action=True, **options)
    for each in (env, vector):
        with pytest.raises(ResetNeeded, match="before action_masks"):
            each.action_masks()
        each.reset(seed=0)
    filters = np.array([label.split()[0] for label in env.form.labels])
    assert sorted(set(filters)) == ["gamma", "saturation", "stop"]
    assert env.action_masks().dtype == np.bool_
    assert env.action_masks().all()
    env.step(int(np.argmax(filters == "saturation")))
    np.testing.assert_array_equal(env.action_masks(), filters != "saturation")
    vector.step(np.array([np.argmax(filters == "gamma"), np.argmax(filters == "saturation")]))
    np.testing.assert_array_equal(vector.action_masks(), [filters != "gamma", filters != "saturation"])
    env.step(0)
    assert env.action_masks().all()  # every filter was used: a mask must leave something


def test_masks_of_the_hybrid_form_are_of_filters() -> None:
    options: dict[str, Any] = {"image_size": 16, "filters": ["gamma", "saturation"], "stop_action": True}
    env: Any = gym.make("PhotoRetouch-v0", reward="reference", **options)
    vector: Any = gym.make_vec("PhotoRetouch-v0", num_envs=2, reward="reference", **options)
    with pytest.raises(ResetNeeded, match="before action_masks"):
        vector.action_masks()
    env.reset(seed=0)
    vector.reset(seed=0)
    masks = env.get_wrapper_attr("action_masks")
    np.testing.assert_array_equal(masks(), [True, True, True])
    env.step({"filter": 1, "parameters": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(masks(), [True, False, True])
    vector.step({"filter": np.array([0, 1]), "parameters": np.zeros((2, 2), np.float32)})
    np.testing.assert_array_equal(vector.action_masks(), [[False, True, True], [True, False, True]])
    env.step({"filter": 0, "parameters": np.zeros(2, np.float32)})
    assert masks().all()


def test_masks_are_those_of_the_outermost_form() -> None:
    env: Any = FlatAction(gym.make("PhotoRetouch-v0", reward="reference", image_size=16), "discrete")
    env.reset(seed=0)
    env.step(env.action_from_edit(Edit("gamma", (1.5,))))
    used = [label.startswith("gamma") for label in env.form.labels]
    np.testing.assert_array_equal(env.get_wrapper_attr("action_masks")(), np.logical_not(used))
    for make in (gym.make, gym.make_vec):
        assert not hasattr(make("PhotoRetouchBox-v0", reward="reference", image_size=16).unwrapped, "action_masks")
    with pytest.raises(AttributeError):
        FlatAction(env.env, "box").action_masks()


def test_every_discrete_action_has_a_key() -> None:
    env: Any = gym.make("PhotoRetouchDiscrete-v0", stop_action=True).unwrapped
    keys = env.get_keys_to_action()
    assert list(keys.values()) == list(range(env.action_space.n))
    assert all(len(key) == 1 for key in keys)
    assert env.form.labels[keys["q"]] == "gamma 2.2"


def test_stable_baselines3_is_not_imported_until_it_is_needed() -> None:
    program = (
        "import sys, exposure_gym.envs as envs; assert 'stable_baselines3' not in sys.modules;"
        "envs.SB3VecEnv; assert 'stable_baselines3' in sys.modules;"
        "import exposure_gym; assert not hasattr(envs, 'SB4VecEnv')"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

"""PhotoRetouch-v0: the checkers of Gymnasium and Stable-Baselines3, determinism, bad use, rendering."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray

import exposure_gym
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.photo import DisplayPhoto, PhotoError, read_linear, to_square, write_display
from exposure_gym.recipe import Recipe

ID = "PhotoRetouch-v0"


@pytest.fixture
def env() -> Iterator[PhotoRetouchEnv]:
    made = gym.make(ID, render_mode="rgb_array").unwrapped
    assert isinstance(made, PhotoRetouchEnv)
    yield made
    made.close()


def play(env: gym.Env[Any, Any], seed: int) -> list[Any]:
    """One episode of random actions: observations, rewards and infos."""
    env.action_space.seed(seed)
    heard: list[Any] = list(env.reset(seed=seed))
    over = False
    while not over:
        observation, reward, over, truncated, info = env.step(env.action_space.sample())
        heard += [observation, reward, truncated, info]
    return heard


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b))


def test_gymnasium_checker_has_nothing_to_say(env: PhotoRetouchEnv) -> None:
    check_env(env)  # warnings are errors here


def test_make_needs_no_import_of_the_package() -> None:
    assert gym.make(f"exposure_gym:{ID}").spec is not None


def test_registration_is_idempotent() -> None:
    import importlib

    before = gym.registry[ID]
    importlib.reload(exposure_gym)
    assert gym.registry[ID] is before


def test_one_seed_one_episode(env: PhotoRetouchEnv) -> None:
    first = play(env, 7)
    assert same(first, play(gym.make(ID), 7))
    assert not same(first, play(env, 8))


def test_same_episode_in_another_process() -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import gymnasium as gym, hashlib, test_envs;"
        "print(hashlib.sha256(repr([x if not isinstance(x, dict) else sorted((k, str(v)) for k, v in x.items())"
        " for x in test_envs.play(gym.make(test_envs.ID), 3)]).encode()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", program, str(Path(__file__).parent)], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 65


def test_no_global_random_state_is_touched(env: PhotoRetouchEnv) -> None:
    numpy_state, torch_state = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()  # noqa: NPY002
    play(env, 0)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


def test_an_episode_ends_after_its_edits_with_a_recipe_that_repeats_it(env: PhotoRetouchEnv) -> None:
    env.action_space.seed(1)
    observation, info = env.reset(seed=1)
    assert set(info) == {"photo"}
    start = observation["image"]
    for number in range(1, 6):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation["step"] == number
        assert terminated == (number == 5)
        assert not truncated
        assert reward == pytest.approx(sum(info["rewards"].values()))
        assert set(info["rewards"]) == {"critic", "overexposure", "reuse"}
    recipe = Recipe.from_json(info["recipe"])
    assert len(recipe) == 5
    np.testing.assert_allclose(recipe.apply_photo(start), observation["image"], atol=1e-5)


def test_reusing_a_filter_costs_and_is_remembered(env: PhotoRetouchEnv) -> None:
    env.reset(seed=0)
    action = {"filter": 5, "parameters": np.zeros(39, np.float32)}
    _, _, _, _, first = env.step(action)
    observation, _, _, _, second = env.step(action)
    assert (first["rewards"]["reuse"], second["rewards"]["reuse"]) == (0.0, -1.0)
    assert observation["filters_used"].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]


def test_observations_stay_in_the_space_under_the_worst_play(env: PhotoRetouchEnv) -> None:
    env.reset(seed=0, options={"photo": np.ones((64, 64, 3), np.float32)})
    brightest = {"filter": 0, "parameters": np.ones(39, np.float32)}
    for _ in range(5):
        observation, reward, _, _, _ = env.step(brightest)
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
    assert observation["image"].max() == 16.0


def test_observations_are_the_players_own(env: PhotoRetouchEnv) -> None:
    observation, _ = env.reset(seed=0)
    observation["image"][:] = 0.5
    action = {"filter": 5, "parameters": np.zeros(39, np.float32)}
    after, *_ = env.step(action)
    assert not np.array_equal(after["image"], observation["image"])


def test_play_on_a_given_photo(env: PhotoRetouchEnv, tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.random((90, 130, 3), dtype=np.float32)
    path = tmp_path / "given.png"
    write_display(path, DisplayPhoto(pixels))
    observation, info = env.reset(options={"photo": path})
    assert info == {"photo": "given.png"}
    np.testing.assert_array_equal(observation["image"], to_square(read_linear(path).pixels, 64))
    observation, _ = env.reset(options={"photo": pixels})
    np.testing.assert_array_equal(observation["image"], to_square(pixels, 64))


BAD_ACTIONS: dict[str, Any] = {
    "not a dict": np.zeros(39),
    "missing key": {"filter": 0},
    "filter too large": {"filter": 8, "parameters": np.zeros(39)},
    "negative filter": {"filter": -1, "parameters": np.zeros(39)},
    "filter not an integer": {"filter": 0.5, "parameters": np.zeros(39)},
    "too few parameters": {"filter": 0, "parameters": np.zeros(38)},
    "a batch of parameters": {"filter": 0, "parameters": np.zeros((1, 39))},
    "text": {"filter": 0, "parameters": np.array(["a"] * 39)},
    "NaN": {"filter": 0, "parameters": np.full(39, np.nan)},
    "infinite": {"filter": 0, "parameters": np.full(39, np.inf)},
}


@pytest.mark.parametrize("action", BAD_ACTIONS.values(), ids=BAD_ACTIONS.keys())
def test_bad_actions_are_refused_and_change_nothing(env: PhotoRetouchEnv, action: Any) -> None:
    env.reset(seed=0)
    good = {"filter": 1, "parameters": np.full(39, -0.5, np.float32)}
    expected = copy.deepcopy(env).step(good)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        env.step(action)
    assert same(list(env.step(good)), list(expected))


def test_parameters_out_of_range_are_clipped(env: PhotoRetouchEnv) -> None:
    env.reset(seed=0)
    twin = copy.deepcopy(env)
    wild = env.step({"filter": 0, "parameters": np.full(39, 9.0)})
    assert same(list(wild), list(twin.step({"filter": 0, "parameters": np.ones(39)})))


def test_steps_outside_an_episode_are_refused(env: PhotoRetouchEnv) -> None:
    action = {"filter": 0, "parameters": np.zeros(39)}
    fresh = PhotoRetouchEnv()
    with pytest.raises(ResetNeeded, match="reset"):
        fresh.step(action)
    env.reset(seed=0)
    for _ in range(5):
        env.step(action)
    with pytest.raises(ResetNeeded, match="over"):
        env.step(action)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"picture": 1}, ValueError),
        ({"photo": np.zeros((8, 8))}, ValueError),
        ({"photo": np.zeros((8, 8, 3), np.uint8)}, ValueError),
        ({"photo": np.full((8, 8, 3), np.nan, np.float32)}, ValueError),
        ({"photo": "no/such/file.tif"}, PhotoError),
    ],
)
def test_bad_options_are_refused_and_change_nothing(
    env: PhotoRetouchEnv, options: dict[str, Any], error: type[Exception]
) -> None:
    env.reset(seed=0)
    good = {"filter": 1, "parameters": np.full(39, -0.5, np.float32)}
    expected = copy.deepcopy(env).step(good)
    with pytest.raises(error, match=r"^[^\n]+$"):
        env.reset(options=options)
    assert same(list(env.step(good)), list(expected))


def test_options_of_the_game_shape_its_spaces() -> None:
    env = gym.make(ID, image_size=32, max_steps=2, filters=["gamma", "tone"], masks=True)
    assert env.observation_space["image"].shape == (32, 32, 3)  # type: ignore[index]
    assert env.action_space["parameters"].shape == (1 + 8 + 12,)  # type: ignore[index]
    assert len(play(env, 0)) == 2 + 2 * 4
    with pytest.raises(ValueError, match="sharpen"):
        gym.make(ID, filters=["sharpen"])
    with pytest.raises(ValueError, match="reward"):
        gym.make(ID, reward="likes")


def test_copies_and_pickles_play_on_alike(env: PhotoRetouchEnv) -> None:
    env.reset(seed=5)
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    action = {"filter": 4, "parameters": np.linspace(-1, 1, 39)}
    expected = list(env.step(action))
    for twin in twins:
        assert same(list(twin.step(action)), expected)


def filled(strip: NDArray[np.uint8], surround: NDArray[np.uint8]) -> int:
    """Columns of a strip that show something."""
    return int((strip != surround).any(axis=(0, 2)).sum())


def test_the_strip_starts_dark_and_grows(env: PhotoRetouchEnv) -> None:
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=0)
    before = env.render()
    env.step({"filter": 1, "parameters": np.full(39, -1.0)})
    after = env.render()
    assert isinstance(before, np.ndarray)
    assert isinstance(after, np.ndarray)
    assert before.dtype == after.dtype == np.uint8
    assert after.shape == before.shape  # video writers want frames of one size
    surround = before[-1, -1]
    assert filled(after, surround) > filled(before, surround) > 0
    assert after.mean() > before.mean()


def test_ansi_tells_the_edits() -> None:
    env = gym.make(ID, render_mode="ansi")
    env.reset(seed=0)
    parameters = np.zeros(39, np.float32)
    parameters[0] = 1.0 / 3.5
    env.step({"filter": 0, "parameters": parameters})
    env.step({"filter": 5, "parameters": np.zeros(39)})
    assert env.render() == "1. exposure +1.0 EV\n2. contrast: no change"


def test_recipes_of_an_episode_are_json(env: PhotoRetouchEnv) -> None:
    recipe = json.loads(play(env, 2)[-1]["recipe"])
    assert [edit["filter"] for edit in recipe["edits"]]

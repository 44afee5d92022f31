"""Evaluation plays the same game as environment and agent, draws nothing, and measures what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.data import Photos, PhotoSet
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.evaluation import (
    BATCH,
    HeldOutPhotos,
    agent_player,
    display_statistics,
    episode_reward,
    play,
    random_player,
    retouch_pictures,
)
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.metrics import histogram_intersection, photo_statistics
from exposure_gym.photo import DisplayPhoto, PhotoError, read_display, write_display

SIZE = 16


class Brightness:
    """A reward model for the tests: the mean of the picture."""

    name = "brightness"

    def potential(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(1, 2, 3))


def some_photos(rng: np.random.Generator) -> Photos:
    crops = rng.random((6, 3, SIZE, SIZE), dtype=np.float32)
    names = [f"photo-{i}" for i in range(6)]
    return Photos(PhotoSet(crops * 0.3, "linear", names), PhotoSet(crops, "display", names))


@pytest.fixture
def env(rng: np.random.Generator) -> PhotoRetouchEnv:
    return PhotoRetouchEnv(some_photos(rng), reward=Brightness(), image_size=SIZE)


@pytest.fixture
def agent(env: PhotoRetouchEnv) -> ExposureAgent:
    return ExposureAgent(env=env, seed=1, device="cpu", policy_kwargs={"base_channels": 4, "features": 64, "hidden": 8})


def test_an_episode_earns_what_the_environment_pays(env: PhotoRetouchEnv, rng: np.random.Generator) -> None:
    image = rng.random((40, 50, 3), dtype=np.float32)
    observation, _ = env.reset(seed=0, options={"photo": image})
    actions = [{"filter": k, "parameters": rng.uniform(-1, 1, 39).astype(np.float32)} for k in (0, 4, 0, 2, 0)]

    def player(state: GameState) -> tuple[torch.Tensor, torch.Tensor]:
        action = actions[int(state.step)]
        return torch.tensor([action["filter"]]), torch.from_numpy(action["parameters"])[None]

    view = torch.from_numpy(observation["image"].transpose(2, 0, 1).copy())[None]
    episode = play(env.game, view, player)
    paid = [env.step(action) for action in actions]
    assert episode_reward(Brightness(), episode).item() == pytest.approx(sum(step[1] for step in paid), abs=1e-5)
    assert episode.penalty.item() >= 2.0  # exposure three times: two repetitions
    assert len(episode.images) == 6
    np.testing.assert_array_equal(episode.images[-1][0].permute(1, 2, 0), paid[-1][0]["image"])


def test_results_are_those_of_the_agents_recipes(agent: ExposureAgent, rng: np.random.Generator) -> None:
    pictures = rng.random((5, SIZE, SIZE, 3), dtype=np.float32)
    results = retouch_pictures(agent, pictures, seed=None)
    for picture, result in zip(pictures, results, strict=True):
        recipe = agent.retouch(picture, deterministic=True)
        np.testing.assert_allclose(recipe.apply_photo(picture), result, atol=1e-4)
    (alone,) = retouch_pictures(agent, pictures[:1], seed=3)
    np.testing.assert_allclose(
        agent.retouch(pictures[0], deterministic=False, seed=3).apply_photo(pictures[0]), alone, atol=1e-4
    )


def test_dropout_noise_is_seeded_and_the_evaluations_own(agent: ExposureAgent, rng: np.random.Generator) -> None:
    pictures = rng.random((5, SIZE, SIZE, 3), dtype=np.float32)
    before = agent.noise.get_state()
    first, again, other = (retouch_pictures(agent, pictures, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert torch.equal(agent.noise.get_state(), before)


def test_batches_do_not_matter(agent: ExposureAgent, rng: np.random.Generator) -> None:
    pictures = rng.random((BATCH + 3, SIZE, SIZE, 3), dtype=np.float32)
    together = retouch_pictures(agent, pictures, seed=None)
    np.testing.assert_allclose(together[-3:], retouch_pictures(agent, pictures[-3:], seed=None), atol=1e-4)


def test_random_play_is_in_the_action_space_and_follows_its_seed() -> None:
    game = RetouchGame()
    state = game.start(torch.full((500, 3, 2, 2), 0.5))
    index, parameters = random_player(game, torch.Generator().manual_seed(3))(state)
    assert sorted(set(index.tolist())) == list(range(8))
    assert parameters.shape == (500, 39)
    assert -1.0 <= float(parameters.min()) < -0.99
    assert 0.99 < float(parameters.max()) <= 1.0
    again = random_player(game, torch.Generator().manual_seed(3))(state)
    assert torch.equal(index, again[0])
    assert torch.equal(parameters, again[1])


def test_evaluating_draws_nothing(agent: ExposureAgent, rng: np.random.Generator) -> None:
    held_out = HeldOutPhotos.from_photos(some_photos(rng), SIZE)
    before = agent.noise.get_state(), agent.rng.bit_generator.state, torch.get_rng_state()
    first = held_out.evaluate(agent)
    assert torch.equal(before[0], agent.noise.get_state())
    assert before[1] == agent.rng.bit_generator.state
    assert torch.equal(before[2], torch.get_rng_state())
    assert held_out.evaluate(agent) == first
    expected = histogram_intersection(photo_statistics(retouch_pictures(agent, held_out.inputs)), held_out.targets)
    assert first == expected


def test_held_out_files_enter_with_five_crops_each(tmp_path: Path, rng: np.random.Generator) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.tif"]
    for path in paths:
        write_display(path, DisplayPhoto(rng.random((30, 50, 3), dtype=np.float32)))
    held_out = HeldOutPhotos.from_files(paths, paths[:1], size=SIZE)
    assert held_out.inputs.shape == (10, SIZE, SIZE, 3)
    assert held_out.targets.shape == (5, 3)
    np.testing.assert_array_equal(held_out.targets, display_statistics(paths[:1], SIZE))
    mean = read_display(paths[0]).pixels @ np.array([0.27, 0.67, 0.06])
    assert held_out.targets[:, 0].mean() == pytest.approx(mean.mean(), abs=0.02)


def test_held_out_photos_must_exist(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"missing\.png: does not exist"):
        HeldOutPhotos.from_files([tmp_path / "missing.png"], [])
    with pytest.raises(ValueError, match="at least one"):
        HeldOutPhotos.from_files([], [])


def test_the_agent_player_is_the_agents_prediction(agent: ExposureAgent, env: PhotoRetouchEnv) -> None:
    observation, _ = env.reset(seed=4)
    action, _ = agent.predict(observation, deterministic=True)
    assert isinstance(action, dict)
    state = env.game.start(torch.from_numpy(observation["image"].transpose(2, 0, 1).copy())[None])
    index, parameters = agent_player(agent, seed=None)(state)
    assert index.item() == action["filter"]
    np.testing.assert_allclose(parameters[0], action["parameters"], atol=1e-6)

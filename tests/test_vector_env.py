"""The batched environments: the same games as Gymnasium's own loop over single ones, whatever the mode."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_match import check_environments_match
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics, RecordVideo

import exposure_gym
from exposure_gym.envs import PhotoRetouchVectorEnv
from exposure_gym.photo import PhotoError

IDS = ["PhotoRetouch-v0", "PhotoRetouchBox-v0", "PhotoRetouchDiscrete-v0"]
MODES = list(AutoresetMode)


class Brightness:
    """A reward that costs no time."""

    name = "brightness"

    def potential(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(1, 2, 3))


SMALL: dict[str, Any] = {"image_size": 16, "reward": Brightness()}


def alike(a: Any, b: Any, where: str = "") -> None:
    """Assert that two observations, infos, ... are the same: numbers to 1e-5, all else exactly."""
    assert type(a) is type(b), (where, a, b)
    if isinstance(a, dict):
        assert a.keys() == b.keys(), (where, a.keys() ^ b.keys())
        for key in a:
            alike(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (tuple, list)):
        assert len(a) == len(b), where
        for x, y in zip(a, b, strict=True):
            alike(x, y, where)
    elif isinstance(a, np.ndarray) and a.dtype == object:
        alike(a.tolist(), b.tolist(), where)
    elif isinstance(a, np.ndarray) and a.dtype.kind == "f":
        assert a.dtype == b.dtype, where
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=where)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5), where
    else:
        assert np.array_equal(a, b), where
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None), where


def make(id: str = IDS[0], num_envs: int = 3, **options: Any) -> PhotoRetouchVectorEnv:
    envs = gym.make_vec(id, num_envs=num_envs, **SMALL | options)
    assert isinstance(envs, PhotoRetouchVectorEnv)
    return envs


def make_sync(id: str = IDS[0], mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> VectorEnv[Any, Any]:
    loop = {"vectorization_mode": "sync", "vector_kwargs": {"autoreset_mode": mode}}
    return gym.make_vec(id, num_envs=3, **SMALL | loop | options)


OPTIONS: dict[str, dict[str, Any]] = {
    "critic": {"reward": "critic"},
    "ends apart": {"stop_action": True, "max_episode_steps": 4, "reward": "reference"},
    "limited": {"max_episode_steps": 5, "masks": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("id", IDS)
def test_games_are_those_of_single_environments(id: str, mode: AutoresetMode, options: dict[str, Any]) -> None:
    batched, loop = make(id, autoreset_mode=mode, text=True, **options), make_sync(id, mode, **options)
    assert batched.observation_space == loop.observation_space
    assert batched.action_space == loop.action_space
    assert batched.single_action_space == loop.single_action_space
    assert batched.metadata == loop.metadata
    alike(batched.reset(seed=5), loop.reset(seed=5), "reset")
    assert list(batched.np_random_seed) == list(loop.np_random_seed)  # type: ignore[call-overload]
    batched.action_space.seed(0)
    ends = set()
    for number in range(14):
        actions = batched.action_space.sample()
        mine, theirs = batched.step(actions), loop.step(actions)
        alike(mine, theirs, f"step {number}")
        assert batched.observation_space.contains(mine[0])
        over = mine[2] | mine[3]
        ends |= {number for _ in np.flatnonzero(over)}
        if mode is AutoresetMode.DISABLED and over.any():
            one, other = (envs.reset(options={"reset_mask": over.copy()}) for envs in (batched, loop))
            alike(one, other, f"reset {number}")
    assert len(ends) >= 2


def test_masks_of_a_reset_pick_games_and_seeds() -> None:
    batched: Any = make(autoreset_mode="Disabled", text=True)
    loop: Any = make_sync(mode=AutoresetMode.DISABLED)
    for envs in (batched, loop):
        envs.reset(seed=[3, 1, 4])
    mask = np.array([True, False, True])
    mine, theirs = (envs.reset(seed=[9, 9, 7], options={"reset_mask": mask.copy()}) for envs in (batched, loop))
    alike(mine, theirs)
    assert batched.np_random_seed == (9, 1, 7)


class OneGame(gym.Env[Any, Any]):
    """A batch of one, seen as a single environment."""

    def __init__(self, id: str) -> None:
        self.envs = make(id, 1, autoreset_mode=AutoresetMode.DISABLED, text=True)
        self.action_space, self.observation_space = self.envs.single_action_space, self.envs.single_observation_space

    def _info(self, infos: dict[str, Any]) -> dict[str, Any]:
        values = {key: value for key, value in infos.items() if key[0] != "_"}
        return {key: self._info(v) if isinstance(v, dict) else v.tolist()[0] for key, v in values.items()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        observation, infos = self.envs.reset(seed=seed)
        return {key: value[0] for key, value in observation.items()}, self._info(infos)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        batch = {k: np.array([v]) for k, v in action.items()} if isinstance(action, dict) else np.array([action])
        observation, reward, *ends, infos = self.envs.step(batch)
        terminated, truncated = (bool(end[0]) for end in ends)
        seen = {key: value[0] for key, value in observation.items()}
        return seen, float(reward[0]), terminated, truncated, self._info(infos)


@pytest.mark.parametrize("id", IDS)
def test_gymnasium_finds_single_and_batched_alike(id: str) -> None:
    check_environments_match(gym.make(id, **SMALL).unwrapped, OneGame(id), num_steps=12)


@pytest.mark.parametrize("mode", MODES)
def test_tensors_are_the_same_numbers_and_no_copies(mode: AutoresetMode) -> None:
    options: dict[str, Any] = {"autoreset_mode": mode, "stop_action": True}  # so that games end apart
    arrays, tensors = make(**options), make(**options, tensors=True)
    seen, expected = tensors.reset(seed=2)[0], arrays.reset(seed=2)[0]
    state = tensors._batch.state
    assert state is not None
    assert seen["image"].data_ptr() == state.image.data_ptr()
    arrays.action_space.seed(1)
    apart = False
    for _ in range(9):
        before = {key: value.clone() for key, value in seen.items()}
        actions = arrays.action_space.sample()
        given = {key: torch.from_numpy(value) for key, value in actions.items()}
        observations, reward, terminated, truncated, infos = tensors.step(given)
        expected, *rest, told = arrays.step(actions)
        for key in seen:
            assert torch.equal(seen[key], before[key])  # what was handed out never changes
            np.testing.assert_array_equal(observations[key].numpy(), expected[key])
        assert all(isinstance(part, torch.Tensor) for part in (reward, terminated, truncated))
        for part, array in zip((reward, terminated, truncated), rest, strict=True):
            np.testing.assert_allclose(part.numpy(), array, rtol=1e-6)
        assert infos.keys() == told.keys()
        if "rewards" in told:
            gain = infos["rewards"]["brightness"]
            np.testing.assert_allclose(gain.numpy(), told["rewards"]["brightness"], rtol=1e-6)
        if "final_obs" in told:
            for row in np.flatnonzero(told["_final_obs"]):
                final = infos["final_obs"][row]
                np.testing.assert_array_equal(final["image"].numpy(), told["final_obs"][row]["image"])
        seen = observations
        apart |= bool(rest[1].any() and not rest[1].all())
        if mode is AutoresetMode.DISABLED and rest[1].any():
            before = {key: value.clone() for key, value in seen.items()}
            now, expected = (envs.reset(options={"reset_mask": rest[1]})[0] for envs in (tensors, arrays))
            assert all(torch.equal(seen[key], before[key]) for key in seen)
            seen = now
    assert apart


def test_observations_are_the_players_own() -> None:
    envs = make()
    first, _ = envs.reset(seed=0)
    twin = copy.deepcopy(envs)
    for part in first.values():
        part[:] = 1
    envs.action_space.seed(0)
    actions = envs.action_space.sample()
    alike(envs.step(actions), twin.step(actions))


def test_text_only_when_asked_for() -> None:
    envs = make()
    assert envs.reset(seed=0)[1] == {}
    _, _, _, _, infos = envs.step(envs.action_space.sample())
    assert set(infos) == {"rewards", "_rewards"}
    assert infos["rewards"].keys() == {n for t in ("brightness", "overexposure", "reuse") for n in (t, f"_{t}")}


@pytest.mark.parametrize("mode", MODES)
def test_episode_statistics(mode: AutoresetMode) -> None:
    envs = RecordEpisodeStatistics(make(autoreset_mode=mode))
    envs.reset(seed=0)
    envs.action_space.seed(0)
    total = np.zeros(3)
    for _ in range(5):
        _, rewards, _, _, infos = envs.step(envs.action_space.sample())
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total)
    assert infos["episode"]["l"].tolist() == [5, 5, 5]


def test_statistics_know_of_masked_resets() -> None:
    envs = RecordEpisodeStatistics(make(autoreset_mode=AutoresetMode.DISABLED, max_episode_steps=3))
    envs.reset(seed=0)
    envs.action_space.seed(0)
    envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.step(envs.action_space.sample())
    _, _, _, truncated, infos = envs.step(envs.action_space.sample())
    assert truncated.tolist() == [False, True, True]
    assert infos["episode"]["l"].tolist() == [0, 3, 3]


def test_numpy_to_torch() -> None:
    pytest.importorskip("array_api_compat", reason="Gymnasium's conversions need array-api-compat")
    from gymnasium.wrappers.vector import NumpyToTorch

    plain, envs = make(), NumpyToTorch(make())
    plain.reset(seed=0)
    observation, _ = envs.reset(seed=0)
    assert isinstance(observation["image"], torch.Tensor)
    plain.action_space.seed(0)
    actions = plain.action_space.sample()
    given = {key: torch.from_numpy(value) for key, value in actions.items()}
    observation, reward, *_ = envs.step(given)
    expected, rewards, *_ = plain.step(actions)
    np.testing.assert_array_equal(observation["image"].numpy(), expected["image"])
    np.testing.assert_allclose(reward.numpy(), rewards, rtol=1e-6)


def test_strips_are_the_single_ones() -> None:
    envs, single = make(render_mode="rgb_array"), gym.make(IDS[0], render_mode="rgb_array", **SMALL)
    assert make().render() is None
    with pytest.raises(ResetNeeded):
        envs.render()
    envs.reset(seed=0)
    single.reset(seed=1)
    envs.action_space.seed(0)
    for _ in range(2):
        actions = envs.action_space.sample()
        envs.step(actions)
        single.step({key: value[1] for key, value in actions.items()})
    strips = envs.render()
    assert isinstance(strips, tuple)
    assert len(strips) == 3
    assert len({strip.shape for strip in strips}) == 1
    np.testing.assert_array_equal(strips[1], single.render())


def test_words_of_the_edits() -> None:
    envs = make(render_mode="ansi")
    envs.reset(seed=0)
    envs.step({"filter": np.array([5, 5, 6]), "parameters": np.zeros((3, 39))})
    assert envs.render() == ("1. contrast: no change", "1. contrast: no change", "1. black and white 50 %")


def test_videos_of_a_batch(tmp_path: Any) -> None:
    pytest.importorskip("moviepy", reason="moviepy is not installed: it needs an older Pillow")
    import cv2

    envs = RecordVideo(make(render_mode="rgb_array"), str(tmp_path / "videos"), video_length=6)
    envs.reset(seed=0)
    for _ in range(6):
        envs.step(envs.action_space.sample())
    envs.close()
    (video, *_) = (tmp_path / "videos").glob("*.mp4")
    film = cv2.VideoCapture(str(video))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) >= 6
    assert film.read()[0]


def test_copies_and_pickles_play_on_alike() -> None:
    envs = make(autoreset_mode=AutoresetMode.SAME_STEP, stop_action=True)
    envs.reset(seed=5)
    twins = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs))]
    envs.action_space.seed(0)
    for _ in range(6):
        actions = envs.action_space.sample()
        expected = envs.step(actions)
        for twin in twins:
            alike(twin.step(actions), expected)


def test_what_make_vec_does_with_arguments() -> None:
    assert make(max_episode_steps=-1).max_episode_steps is None
    assert make(autoreset_mode="SameStep").metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert PhotoRetouchVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    with pytest.raises(gym.error.Error, match="vector_kwargs"):  # for Gymnasium's own vector environments only
        make(vector_kwargs={"shared_memory": True})
    with pytest.raises(TypeError, match="shared_memory"):
        make(shared_memory=True)
    again = gym.make_vec(make(max_steps=2, num_envs=4).spec)  # type: ignore[arg-type]
    assert isinstance(again, PhotoRetouchVectorEnv)
    assert (again.num_envs, again.game.max_steps, again.image_size) == (4, 2, 16)


BAD_ARGUMENTS: dict[str, tuple[dict[str, Any], str]] = {
    "no game": ({"num_envs": 0}, "num_envs"),
    "mode": ({"autoreset_mode": "Never"}, "Never"),
    "limit": ({"max_episode_steps": 0}, "max_episode_steps"),
    "render mode": ({"render_mode": "human"}, "render_mode"),
    "photos": ({"photos": "holiday"}, "holiday"),
    "reward": ({"reward": "likes"}, "likes"),
    "size": ({"image_size": 0}, "image_size"),
    "filter": ({"filters": ["sepia"]}, "sepia"),
}


@pytest.mark.parametrize(("arguments", "match"), BAD_ARGUMENTS.values(), ids=BAD_ARGUMENTS.keys())
def test_bad_arguments(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*{match}[^\n]*$"):
        PhotoRetouchVectorEnv(**{"num_envs": 2} | arguments)


ZEROS = np.zeros((3, 39))
BAD_ACTIONS: dict[str, tuple[str, Any]] = {
    "no dict": (IDS[0], ZEROS),
    "a single action": (IDS[0], {"filter": 0, "parameters": np.zeros(39)}),
    "filter too large": (IDS[0], {"filter": np.array([0, 8, 0]), "parameters": ZEROS}),
    "filter a float": (IDS[0], {"filter": np.array([0.0, 1.0, 2.0]), "parameters": ZEROS}),
    "filter a bool": (IDS[0], {"filter": torch.tensor([True, False, True]), "parameters": ZEROS}),
    "NaN": (IDS[0], {"filter": np.zeros(3, int), "parameters": np.full((3, 39), np.nan)}),
    "complex": (IDS[0], {"filter": np.zeros(3, int), "parameters": torch.zeros(3, 39, dtype=torch.complex64)}),
    "box of another length": (IDS[1], np.zeros((3, 46))),
    "box of text": (IDS[1], np.full((3, 47), "a")),
    "infinite score": (IDS[1], np.full((3, 47), np.inf)),
    "discrete negative": (IDS[2], np.array([0, -1, 3])),
    "discrete too many": (IDS[2], np.array([0, 1, 2, 3])),
}


@pytest.mark.parametrize(("id", "actions"), BAD_ACTIONS.values(), ids=BAD_ACTIONS.keys())
def test_bad_actions_are_refused_and_change_nothing(id: str, actions: Any) -> None:
    envs = make(id)
    envs.reset(seed=0)
    twin = copy.deepcopy(envs)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        envs.step(actions)
    envs.action_space.seed(0)
    good = envs.action_space.sample()
    alike(envs.step(good), twin.step(good))


BAD_RESETS: dict[str, dict[str, Any]] = {
    "unknown option": {"options": {"picture": 1}},
    "mask a list": {"options": {"reset_mask": [True, False, True]}},
    "mask of numbers": {"options": {"reset_mask": np.ones(3)}},
    "mask too long": {"options": {"reset_mask": np.ones(4, bool)}},
    "mask empty": {"options": {"reset_mask": np.zeros(3, bool)}},
    "photos too few": {"options": {"photo": [None, None]}},
    "no photo": {"options": {"photo": [None, np.zeros((4, 4)), None]}},
    "no file": {"options": {"photo": "no/such/file.tif"}},
    "seeds too few": {"seed": [1, 2]},
}


@pytest.mark.parametrize("arguments", BAD_RESETS.values(), ids=BAD_RESETS.keys())
def test_bad_resets_are_refused_and_change_nothing(arguments: dict[str, Any]) -> None:
    envs = make()
    envs.reset(seed=0)
    twin = copy.deepcopy(envs)
    with pytest.raises((ValueError, PhotoError), match=r"^[^\n]+$"):
        envs.reset(**arguments)
    envs.action_space.seed(0)
    for _ in range(6):  # over the end, so that random numbers are compared too
        good = envs.action_space.sample()
        alike(envs.step(good), twin.step(good))


def test_steps_outside_an_episode_are_refused() -> None:
    envs = make(autoreset_mode=AutoresetMode.DISABLED, max_steps=1)
    with pytest.raises(ResetNeeded):
        envs.step(envs.action_space.sample())
    with pytest.raises(ValueError, match="every game the first time"):
        envs.reset(options={"reset_mask": np.array([True, False, False])})
    envs.reset(seed=0)
    envs.step(envs.action_space.sample())
    envs.reset(options={"reset_mask": np.array([True, False, False])})
    with pytest.raises(ResetNeeded, match=r"\[1, 2\]"):
        envs.step(envs.action_space.sample())


def test_photos_for_each_game(rng: np.random.Generator) -> None:
    given = rng.random((16, 16, 3), dtype=np.float32)
    envs = make(text=True)
    observation, infos = envs.reset(seed=0, options={"photo": [None, given, None]})
    drawn, names = make(text=True).reset(seed=0)
    np.testing.assert_array_equal(observation["image"][1], given)
    np.testing.assert_array_equal(observation["image"][::2], drawn["image"][::2])
    assert infos["photo"].tolist() == [names["photo"][0], "given", names["photo"][2]]
    observation, _ = envs.reset(options={"photo": given * 100})
    assert envs.observation_space.contains(observation)
    assert observation["image"].max() == 16.0


def test_no_global_random_state_is_touched() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()  # noqa: NPY002
    envs = make()
    envs.reset()
    for _ in range(7):
        envs.step(envs.action_space.sample())
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[0])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_new_reward_judges_the_games_as_they_stand() -> None:
    envs = make(reward="reference")
    before, _ = envs.reset(seed=0)
    envs.reward_model = Brightness()
    parameters = np.zeros((3, 39))
    parameters[:, 0] = 1 / 3.5
    after, _, _, _, infos = envs.step({"filter": np.zeros(3, int), "parameters": parameters})
    gain = (after["image"] - before["image"]).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(infos["rewards"]["brightness"], gain, rtol=1e-4)
    assert (gain > 0).all()


def test_ids_are_these() -> None:
    assert [id for id in gym.registry if id.startswith("PhotoRetouch")] == IDS
    assert exposure_gym.__version__

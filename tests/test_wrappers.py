"""Action forms and previews: what an action means, and back."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.color import srgb_encode
from exposure_gym.data import Photos, PhotoSet, builtin_photos
from exposure_gym.envs import (
    FlatAction,
    FlatActionVector,
    PhotoRetouchEnv,
    PreviewObservation,
    PreviewObservationVector,
)
from exposure_gym.envs.actions import FORMS, ActionForm, BoxActions, DiscreteActions, HybridActions
from exposure_gym.envs.strengths import PLACES, STRENGTHS
from exposure_gym.filters import ALL_FILTERS, filters_by_name
from exposure_gym.game import RetouchGame
from exposure_gym.recipe import Edit

EVERY = list(ALL_FILTERS)
SMALL: dict[str, Any] = {"image_size": 16, "reward": "reference"}


def every_filter(**rules: Any) -> RetouchGame:
    return RetouchGame(filters_by_name(EVERY), **rules)


def random_edit(game: RetouchGame, seed: int) -> Edit:
    rng = np.random.default_rng(seed)
    filter_ = game.filters[rng.integers(len(game.filters))]
    mask = rng.uniform(-1, 1, 6).astype(np.float32) if game.masks else None
    return Edit.from_action(filter_.name, rng.uniform(-1, 1, filter_.num_actions).astype(np.float32), mask)


def assert_same_edit(a: Edit | None, b: Edit | None) -> None:
    assert a is not None
    assert b is not None
    assert a.filter == b.filter
    np.testing.assert_allclose(a.parameters, b.parameters, rtol=1e-5, atol=1e-5)
    assert (a.mask is None) == (b.mask is None)
    if a.mask is not None and b.mask is not None:
        np.testing.assert_allclose(a.mask, b.mask, atol=1e-5)


# -- forms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [HybridActions, BoxActions])
@given(seed=st.integers(0, 10_000), masks=st.booleans(), stop=st.booleans())
def test_edits_survive_being_actions(form: type[ActionForm], seed: int, masks: bool, stop: bool) -> None:
    actions = form(every_filter(masks=masks, stop_action=stop))
    edit = random_edit(actions.game, seed)
    action = actions.action_from_edit(edit)
    assert actions.space.contains(action)
    assert_same_edit(actions.edit_from_action(action), edit)
    again = actions.action_from_edit(actions.edit_from_action(action))
    assert data_equivalence(again, action)


@pytest.mark.parametrize("masks", [False, True])
def test_every_discrete_action_is_its_edits(masks: bool) -> None:
    actions = DiscreteActions(every_filter(masks=masks, stop_action=True))
    count = sum(map(len, STRENGTHS.values())) * (len(PLACES) if masks else 1) + 1
    assert isinstance(actions.space, gym.spaces.Discrete)
    assert actions.space.n == len(actions.labels) == len(set(actions.labels)) == count
    for number, label in enumerate(actions.labels):
        edit = actions.edit_from_action(np.int64(number))
        assert actions.action_from_edit(edit) == number
        assert label.split()[0] == (edit.filter if edit else "stop")
    assert actions.labels[0] == ("exposure -2 EV, everywhere" if masks else "exposure -2 EV")


def test_strengths_are_of_every_filter_and_change_something(rng: np.random.Generator) -> None:
    assert list(STRENGTHS) == EVERY
    image = rng.uniform(0.05, 0.95, (1, 3, 8, 8))
    for name, strengths in STRENGTHS.items():
        results = [Edit(name, physical).function.apply(image, np.array([physical])) for physical in strengths.values()]
        for i, result in enumerate(results):
            for other in [image, *results[:i]]:
                assert np.abs(result - other).max() > 0.01, (name, i)


def test_names_of_strengths_are_true() -> None:
    def mean(name: str, strength: str, value: float = 0.3) -> Any:
        image = np.full((1, 3, 2, 2), value)
        edit = DiscreteActions(every_filter()).edit_from_action(LABELS.index(f"{name} {strength}"))
        assert edit is not None
        return edit.function.apply(image, np.array([edit.parameters]))[0, :, 0, 0]

    LABELS = DiscreteActions(every_filter()).labels
    np.testing.assert_allclose(mean("exposure", "+1 EV"), 0.6, rtol=1e-6)
    np.testing.assert_allclose(mean("gamma", "1/2.2"), 0.3 ** (1 / 2.2), rtol=1e-6)
    for name, strength in [("white_balance", "warmer"), ("color", "warmer mid-tones")]:
        red, _, blue = mean(name, strength)
        assert red > 0.3 > blue
    for name, strength in [("white_balance", "cooler"), ("color", "cooler mid-tones")]:
        red, _, blue = mean(name, strength)
        assert red < 0.3 < blue
    for name, strength in [("white_balance", "greener"), ("color", "greener mid-tones")]:
        red, green, blue = mean(name, strength)
        assert green > max(red, blue)
    assert (mean("tone", "lift shadows", 0.1) > 0.15).all()
    assert (mean("tone", "deepen shadows", 0.1) < 0.07).all()
    assert (mean("tone", "S-curve", 0.2) < 0.2).all()
    assert (mean("tone", "S-curve", 0.8) > 0.8).all()
    red, _, blue = mean("color", "warm light, cool shadows", 0.8)
    assert red > blue
    red, _, blue = mean("color", "warm light, cool shadows", 0.2)
    assert red < blue


def test_the_nearest_strength_stands_for_an_edit() -> None:
    actions = DiscreteActions(RetouchGame())
    assert actions.labels[actions.action_from_edit(Edit("exposure", (0.8,)))] == "exposure +1 EV"
    assert actions.labels[actions.action_from_edit(Edit("black_white", (0.6,)))] == "black_white half"


def test_box_scores_choose() -> None:
    actions = BoxActions(RetouchGame(stop_action=True))
    scores = np.linspace(-1, 0.9, 48).astype(np.float32)
    scores[4] = scores[6] = 5.0  # beyond the box: compared before clipping; the first of equals
    choices = actions.decode(np.stack([scores, scores[::-1]]), 2)
    assert choices.filter_index.tolist() == [4, 0]
    np.testing.assert_array_equal(choices.parameters[0], scores[9:])
    scores[8] = 6.0
    assert actions.edit_from_action(scores) is None


IMPOSSIBLE: dict[str, tuple[dict[str, Any], Edit | None, str]] = {
    "no such filter": ({"filters": ["gamma"]}, Edit("exposure", (1.0,)), "no filter 'exposure'"),
    "out of reach": ({}, Edit("exposure", (4.0,)), "reaches"),
    "mask too many": ({}, Edit("exposure", (1.0,), (0.0,) * 6), "masks=True"),
    "mask missing": ({"masks": True}, Edit("exposure", (1.0,)), "masks=False"),
    "no stop": ({}, None, "stop_action=True"),
}


@pytest.mark.parametrize("id", ["PhotoRetouch-v0", "PhotoRetouchBox-v0", "PhotoRetouchDiscrete-v0"])
@pytest.mark.parametrize(("options", "edit", "match"), IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_edits_that_no_action_stands_for(id: str, options: dict[str, Any], edit: Edit | None, match: str) -> None:
    env = gym.make(id, **SMALL, **options).unwrapped
    assert isinstance(env, PhotoRetouchEnv)
    with pytest.raises(ValueError, match=rf"^[^\n]*{match}[^\n]*$"):
        env.action_from_edit(edit)


def test_an_edit_does_to_the_game_what_it_does_to_the_picture() -> None:
    env = gym.make("PhotoRetouchBox-v0", **SMALL).unwrapped
    assert isinstance(env, PhotoRetouchEnv)
    observation, _ = env.reset(seed=1)
    edit = Edit("gamma", (1 / 2.2,))
    after, _, _, _, info = env.step(env.action_from_edit(edit))
    np.testing.assert_allclose(after["image"], np.maximum(observation["image"], 0.001) ** (1 / 2.2), rtol=1e-5)
    assert info["edit"] == edit.describe()


# -- wrappers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "id"), [("box", "PhotoRetouchBox-v0"), ("discrete", "PhotoRetouchDiscrete-v0")])
def test_flat_actions_play_the_registered_forms(form: str, id: str) -> None:
    wrapped, registered = FlatAction(gym.make("PhotoRetouch-v0", **SMALL), form), gym.make(id, **SMALL)
    batched = FlatActionVector(gym.make_vec("PhotoRetouch-v0", num_envs=2, **SMALL), form)
    batch = gym.make_vec(id, num_envs=2, **SMALL)
    for one, other in ((wrapped, registered), (batched, batch)):
        assert one.action_space == other.action_space
        assert data_equivalence(one.reset(seed=0), other.reset(seed=0))
        other.action_space.seed(0)
        for _ in range(5):
            action = other.action_space.sample()
            assert data_equivalence(one.step(action), other.step(action), exact=True)
    assert batched.single_action_space == wrapped.action_space
    edit = Edit("exposure", (1.0,))
    for one in (wrapped, batched):
        assert_same_edit(one.edit_from_action(one.action_from_edit(edit)), edit)
    with pytest.raises(ValueError, match="unknown form 'sphere'"):
        FlatAction(gym.make("PhotoRetouch-v0"), "sphere")
    with pytest.raises(ValueError, match="give a PhotoRetouch-v0 environment"):
        FlatAction(gym.make("PhotoRetouchBox-v0"), form)
    assert set(FORMS) == {"hybrid", "box", "discrete"}


def test_wrapped_environments_can_be_made_again() -> None:
    env = PreviewObservation(FlatAction(gym.make("PhotoRetouch-v0", **SMALL), "discrete"))
    again = gym.make(env.spec)  # type: ignore[arg-type]
    assert isinstance(again, PreviewObservation)
    assert again.action_space == env.action_space
    assert again.observation_space == env.observation_space


# -- previews ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped:UserWarning")  # it is a wrapper on purpose
def test_previews_pass_the_checker() -> None:
    check_env(PreviewObservation(gym.make("PhotoRetouch-v0").unwrapped))


def test_previews_are_what_a_person_sees() -> None:
    env, plain = (gym.make("PhotoRetouch-v0", **SMALL) for _ in range(2))
    preview = PreviewObservation(env)
    seen, (linear, _) = preview.reset(seed=0)[0], plain.reset(seed=0)
    np.testing.assert_array_equal(seen["image"], np.rint(255 * srgb_encode(linear["image"].clip(0, 1))))
    assert seen["image"].dtype == np.uint8
    action = {"filter": 0, "parameters": np.full(39, 0.9)}  # some of it over white
    seen, after = preview.step(action)[0], plain.step(action)[0]
    assert after["image"].max() > 1.0
    np.testing.assert_array_equal(seen["image"], np.rint(255 * after["image"].clip(0, 1)))
    assert data_equivalence(seen | {"image": None}, after | {"image": None})
    assert preview.observation_space.contains(seen)


def test_inputs_that_are_display_values_get_no_curve() -> None:
    finished = builtin_photos().targets
    inputs = PhotoSet(finished.crops, "display", finished.names)
    photos = Photos(inputs, finished, display_inputs=True)
    env = PreviewObservation(gym.make("PhotoRetouch-v0", image_size=16, photos=photos, reward="adversarial"))
    plain = gym.make("PhotoRetouch-v0", image_size=16, photos=photos, reward="adversarial")
    seen, shown = env.reset(seed=0)[0]["image"], plain.reset(seed=0)[0]["image"]
    np.testing.assert_array_equal(seen, np.rint(255 * shown))


@pytest.mark.parametrize("tensors", [False, True])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_batched_previews_are_the_single_ones(mode: AutoresetMode, tensors: bool) -> None:
    options = SMALL | {"max_steps": 2, "stop_action": True}
    loop = gym.vector.SyncVectorEnv(
        [lambda: PreviewObservation(gym.make("PhotoRetouchBox-v0", **options))] * 3, autoreset_mode=mode
    )
    made = gym.make_vec("PhotoRetouchBox-v0", num_envs=3, autoreset_mode=mode, tensors=tensors, **options)
    batched = PreviewObservationVector(made)
    assert batched.observation_space == loop.observation_space
    mine, theirs = batched.reset(seed=0)[0], loop.reset(seed=0)[0]
    batched.action_space.seed(0)
    for _ in range(6):
        for key in theirs:
            np.testing.assert_array_equal(np.asarray(mine[key]), theirs[key])
            assert isinstance(mine[key], torch.Tensor) == tensors
        actions = batched.action_space.sample()
        (mine, _, terminated, _, infos), (theirs, *_, told) = batched.step(actions), loop.step(actions)
        if "final_obs" in told:
            for one, other in zip(infos["final_obs"], told["final_obs"], strict=True):
                assert (one is None) == (other is None)
                if one is not None:
                    np.testing.assert_array_equal(np.asarray(one["image"]), other["image"])
        over = np.asarray(terminated)
        if mode is AutoresetMode.DISABLED and over.any():
            mine, theirs = (envs.reset(options={"reset_mask": over.copy()})[0] for envs in (batched, loop))

"""The training sheet: that its numbers are the agent's, that looking changes nothing, and what is drawn of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Image as LoggedImage
from test_exposure_agent import same_weights, tiny_agent, tiny_env

from exposure_gym.agents.exposure import ExposureAgent
from exposure_gym.agents.exposure.callbacks import Checkpoints, LearningCurve, Sheets
from exposure_gym.agents.exposure.sheet import TrainingSheet, training_sheet, wish
from exposure_gym.agents.exposure.sheet_figure import FRAME, draw_sheet, gradient_picture
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.viz import ACCENT


@pytest.fixture(scope="module")
def agent() -> ExposureAgent:
    return tiny_agent().learn(16)


@pytest.fixture(scope="module")
def sheet(agent: ExposureAgent) -> TrainingSheet:
    return training_sheet(agent, sequences=3, pictures=6)


def as_images(frames: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))


def score(agent: ExposureAgent, frames: Any) -> Any:
    with torch.no_grad():
        return agent.policy.critic(as_images(frames)).numpy()


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_shapes(sheet: TrainingSheet) -> None:
    assert (sheet.iteration, sheet.iterations) == (4, 4)
    assert len(sheet.sequences) == 3
    for each in sheet.sequences:
        assert each.frames.shape == each.gradients.shape == (6, 16, 16, 3)
        assert len(each.scores) == len(each.wishes) == 6
        assert len(each.values) == len(each.edits) == len(each.rewards) == 5
        assert each.probabilities.shape == (5, 8)
        np.testing.assert_allclose(each.probabilities.sum(axis=1), 1.0, rtol=1e-5)
    for gallery in (sheet.pool, sheet.results, sheet.targets):
        assert gallery.pictures.shape == (6, 16, 16, 3)


def test_episodes_are_the_edits_that_they_say(agent: ExposureAgent, sheet: TrainingSheet) -> None:
    for i, each in enumerate(sheet.sequences):
        for before, edit, after in zip(each.frames, each.edits, each.frames[1:], strict=False):
            np.testing.assert_allclose(Recipe((edit,)).apply_photo(before).clip(0.0, 16.0), after, atol=1e-4)
        np.testing.assert_array_equal(each.frames[-1], sheet.results.pictures[i])
        assert each.scores[-1] == sheet.results.scores[i]
        overexposure = ((each.frames[1:] - 1.0).clip(0.0) ** 2).mean(axis=(1, 2, 3))
        names = [edit.filter for edit in each.edits]
        reuse = [float(name in names[:k]) for k, name in enumerate(names)]
        expected = agent.score_weight * np.diff(each.scores) - overexposure - reuse
        np.testing.assert_allclose(each.rewards, expected, atol=1e-5)


def test_scores_are_centred_between_results_and_targets(agent: ExposureAgent, sheet: TrainingSheet) -> None:
    results, targets = (score(agent, gallery.pictures) for gallery in (sheet.results, sheet.targets))
    assert sheet.emd == pytest.approx(targets.mean() - results.mean(), abs=1e-5)
    assert sheet.results.scores.mean() == pytest.approx(-sheet.targets.scores.mean(), abs=1e-5)
    centre = (results.mean() + targets.mean()) / 2
    np.testing.assert_allclose(sheet.targets.scores, targets - centre, atol=1e-5)
    for each in sheet.sequences:
        np.testing.assert_allclose(each.scores, score(agent, each.frames) - centre, atol=1e-5)


def test_a_step_along_the_gradient_raises_the_score(agent: ExposureAgent, sheet: TrainingSheet) -> None:
    for each in sheet.sequences:
        slope = np.square(each.gradients).sum(axis=(1, 2, 3))
        step = 1e-2 / np.sqrt(slope)[:, None, None, None]
        rise = score(agent, each.frames + step * each.gradients) - score(agent, each.frames - step * each.gradients)
        np.testing.assert_allclose(rise, 2e-2 * np.sqrt(slope), rtol=0.1)


def test_the_pool_is_shown_in_the_order_of_edits(agent: ExposureAgent, sheet: TrainingSheet) -> None:
    assert agent.pool is not None
    assert sheet.pool_steps.tolist() == sorted(sheet.pool_steps.tolist())
    assert sheet.pool_steps[-1] == agent.pool.state.step.max()
    pictures = agent.pool.state.image.permute(0, 2, 3, 1).numpy()
    for picture, step in zip(sheet.pool.pictures, sheet.pool_steps, strict=True):
        rows = [i for i, other in enumerate(pictures) if np.array_equal(picture, other)]
        assert step in agent.pool.state.step[rows]


def test_every_sheet_shows_the_same_photographs(agent: ExposureAgent, sheet: TrainingSheet) -> None:
    later = training_sheet(tiny_agent(seed=9).learn(4), sequences=3, pictures=6)
    for one, other in zip(sheet.sequences, later.sequences, strict=True):
        np.testing.assert_array_equal(one.frames[0], other.frames[0])
        assert not np.array_equal(one.frames[-1], other.frames[-1])
    np.testing.assert_array_equal(sheet.targets.pictures, later.targets.pictures)


@pytest.mark.parametrize(
    ("name", "parameter", "words", "opposite"),
    [
        ("gamma", 0.9, "brighter", "darker"),
        ("contrast", 0.1, "more contrast", "less contrast"),
        ("saturation", 0.1, "more colour", "less colour"),
    ],
)
def test_wishes_are_put_into_words(name: str, parameter: float, words: str, opposite: str) -> None:
    image = 0.9 * torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    change = torch.from_numpy(Recipe((Edit(name, (parameter,)),)).apply_photo(image.permute(1, 2, 0).numpy()))
    change = change.permute(2, 0, 1) - image
    assert wish(image, change) == words
    assert wish(image, -change) == opposite


def test_an_agent_that_has_not_begun_has_no_sheet() -> None:
    with pytest.raises(ValueError, match="no replay pool yet"):
        training_sheet(tiny_agent())


def test_looking_changes_nothing(tmp_path: Path) -> None:
    plain = tiny_agent().learn(20)
    watched = tiny_agent().learn(20, callback=Sheets(tmp_path / "sheets", 2), log_interval=1)
    assert same_weights(plain, watched)
    assert plain.rng.bit_generator.state == watched.rng.bit_generator.state
    assert torch.equal(plain.noise.get_state(), watched.noise.get_state())
    assert plain.pool is not None
    assert watched.pool is not None
    assert all(torch.equal(a, b) for a, b in zip(plain.pool.state, watched.pool.state, strict=True))


# -- the picture -------------------------------------------------------------------------------------------------------


def test_grey_is_no_change() -> None:
    gradient = np.array([[[0.0, 2.0, -2.0], [1.0, 9.0, -9.0]]], np.float32)
    assert gradient_picture(gradient, 2.0).tolist() == [[[128, 255, 0], [191, 255, 0]]]


def test_every_part_is_drawn(sheet: TrainingSheet) -> None:
    frames = np.stack([np.full((16, 16, 3), code / 255) for code in (11, 51, 91, 131, 171, 211)])
    sequences = tuple(replace(each, frames=frames) for each in sheet.sequences)
    figure = draw_sheet(replace(sheet, sequences=sequences))
    for code in (11, 51, 91, 131, 171, 211):  # each frame in each of the three episodes
        assert (figure == code).all(axis=-1).sum() >= 3 * FRAME**2
    assert (figure == ACCENT).all(axis=-1).sum() > 3 * 5 * 3 * 10  # a chosen bar for each edit
    plain = [replace(each, gradients=np.zeros_like(each.gradients)) for each in sheet.sequences]
    without = draw_sheet(replace(sheet, sequences=tuple(plain)))
    assert without.shape == figure.shape
    assert (without == 128).all(axis=-1).sum() >= 3 * 6 * FRAME**2
    for name in ("pool", "results", "targets"):
        gallery = getattr(sheet, name)
        white = replace(gallery, pictures=np.ones_like(gallery.pictures))
        assert (draw_sheet(replace(sheet, **{name: white})) == 255).all(axis=-1).sum() >= 6 * 64**2


@pytest.mark.parametrize("rules", [{"max_steps": 2, "filters": ["gamma", "tone"]}, {"masks": True}])
def test_other_games_have_sheets_too(rules: dict[str, Any]) -> None:
    figure = draw_sheet(training_sheet(tiny_agent(env=tiny_env(**rules)).learn(4), sequences=1, pictures=40))
    assert figure.ndim == 3
    assert figure.std() > 0


# -- the callback ------------------------------------------------------------------------------------------------------


class Keep(BaseCallback):
    """Keeps what the logger holds after each iteration."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[dict[str, Any]] = []

    def _on_step(self) -> bool:
        self.rows.append(dict(self.logger.name_to_value))
        return True


def test_sheets_are_files_and_logged(tmp_path: Path) -> None:
    folder = tmp_path / "sheets"
    folder.mkdir()
    (folder / ".000002-0123abcd.png").write_bytes(b"half")  # of a training killed while it wrote
    keep = Keep()
    callbacks = [Sheets(folder, 2), LearningCurve(tmp_path / "log.jsonl"), Checkpoints(tmp_path, 100), keep]
    tiny_agent().learn(20, callback=callbacks, log_interval=1)
    assert sorted(path.name for path in folder.iterdir()) == [f"00000{i}.png" for i in (1, 2, 4, 5)]
    logged = {i + 1: row["sheet"] for i, row in enumerate(keep.rows) if "sheet" in row}
    assert logged.keys() == {1, 2, 4, 5}
    for iteration, figure in logged.items():
        assert isinstance(figure, LoggedImage)
        assert np.array_equal(np.asarray(Image.open(folder / f"{iteration:06d}.png")), figure.image)


def test_all_scalars_are_logged() -> None:
    keep = Keep()
    agent = tiny_agent().learn(8, callback=keep, log_interval=1)
    row = keep.rows[-1]
    names = "policy_loss value_loss critic_loss emd gradient_norm gradient_penalty entropy trajectory_length reward"
    assert {f"train/{name}" for name in names.split()} <= row.keys()
    assert {f"filters/{filter_.name}" for filter_ in agent.game.filters} <= row.keys()
    assert all(np.isfinite(value) for value in row.values())
    assert 0.0 < row["train/entropy"] <= np.log(8) + 1e-6
    # The pool has not changed since, but for the critic's rollouts, which come when it holds no finished game.
    assert agent.pool is not None
    assert 0.0 < row["train/trajectory_length"] <= agent.max_trajectory_length

"""The editor's referee: what it keeps of a game saves work and changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from editor_tools import CONTRAST, EXPOSURE, GAMMA, WARMER
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.recipe import Edit
from exposure_gym.ui.controls import edit_from_page
from exposure_gym.ui.referee import KEPT_GAMES, Referee, Trajectory

STEPS = [edit_from_page(edit) for edit in (EXPOSURE, CONTRAST, GAMMA, WARMER)]


class Counting:
    """A judge of brightness that counts what it is asked."""

    name = "brightness"

    def __init__(self) -> None:
        self.asked = 0

    def potential(self, image: Tensor) -> Tensor:
        self.asked += 1
        return image.mean(dim=(1, 2, 3))


@pytest.fixture
def views() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 0.6, (KEPT_GAMES + 2, 64, 64, 3)).astype(np.float32)


def anew(view: NDArray[np.float32], edits: list[Edit], **options: Any) -> Trajectory:
    """The game as a referee plays it that has seen no other."""
    return Referee(**options).play(view, edits)


def test_any_order_of_games_gives_what_each_gives_alone(views: NDArray[np.float32]) -> None:
    referee = Referee()
    rng = np.random.default_rng(1)
    edits: list[Edit] = []
    for _ in range(40):
        step = int(rng.integers(0, 5))
        changed = Edit("exposure", (float(rng.uniform(-1, 1)),)) if rng.random() < 0.5 else STEPS[rng.integers(4)]
        through = edits[step + 1 :] if rng.random() < 0.5 else []
        edits = [*edits[:step], changed, *through]
        view = views[rng.integers(2)]
        assert referee.play(view, edits) == anew(view, edits)
    for view in views:  # more than are kept
        assert referee.play(view, STEPS) == anew(view, STEPS)
    assert referee.play(views[0], STEPS[:1]) == anew(views[0], STEPS[:1])


def test_a_movement_costs_one_step(views: NDArray[np.float32]) -> None:
    judge = Counting()
    referee = Referee(reward=judge)
    referee.play(views[0], STEPS)
    for exposure in (0.1, 0.2, 0.3):
        referee.play(views[0], [*STEPS, Edit("exposure", (exposure,))])
    referee.play(views[1], STEPS)  # another photograph does not push it out
    before = judge.asked
    trajectory = referee.play(views[0], [*STEPS, Edit("exposure", (0.4,))])
    assert judge.asked == before + 1
    assert trajectory == anew(views[0], [*STEPS, Edit("exposure", (0.4,))], reward=Counting())
    referee.play(views[0], STEPS[:2])
    assert judge.asked == before + 1


def test_a_refused_game_leaves_the_one_before(views: NDArray[np.float32]) -> None:
    referee = Referee(max_steps=3)
    first = referee.play(views[0], STEPS[:2])
    with pytest.raises(ValueError, match="a game has 3 steps, not 4"):
        referee.play(views[0], STEPS)
    with pytest.raises(ValueError, match="vignette"):
        referee.play(views[0], [*STEPS[:2], Edit("vignette", (0.5,))])
    assert referee.play(views[0], STEPS[:2]) == first

"""Players that never learn: nothing, chance, and the automatic correction of an old photo program.

Each makes a :data:`exposure_gym.evaluation.Player` for a game: what every agent should beat. They work on any set of
filters (one that is missing is left out) and for games at any step, and need no generator but the one they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from exposure_gym.color import luminance
from exposure_gym.evaluation import Player, random_player
from exposure_gym.filters import CURVE_STEPS, Filter
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.photo import Reading

__all__ = ["auto_levels_player", "identity_player", "random_player"]

Correction = Callable[[Filter, Tensor], Tensor]
"""A filter and pictures ``(B, 3, H, W)`` to its action ``(B, num_actions)``."""

HARMLESS = ("exposure", "contrast", "black_white", "white_balance", "gamma", "saturation", "tone", "color")
"""The filters from the one that changes least when neutral to those that clip."""

MIDDLE_GREY = 0.18
"""Mean of linear light that a correctly exposed photograph has, as a light meter takes it."""

DISPLAY_GAMMA = 2.2


def identity_player(game: RetouchGame) -> Player:
    """Changes nothing: stops at once where that is allowed, else plays neutral edits, a different filter each time."""
    if game.stop_action:
        index, none = len(game.filters), game.num_parameters
        return lambda state: (torch.full_like(state.step, index), state.image.new_zeros(len(state.step), none))
    return _scripted(game, [])


def auto_levels_player(game: RetouchGame, reading: Reading = "linear") -> Player:
    """A fixed correction, the same rule for every photograph, as the automatic button of a photo program.

    1. ``exposure``: the mean luminance becomes 0.18;
    2. ``white_balance``: the means of R, G and B become equal (the grey-world assumption, Buchsbaum 1980);
    3. ``gamma`` 1/2.2, from light to display values;
    4. ``tone``: the curve is steep between the 1st and the 99th percentile of luminance and flat outside.

    What is left of the game's edits is neutral. Each step stays within what the filters reach.

    :param reading: how the pictures were read. Display values need no ``gamma``, and their mean becomes that of
        middle grey, 0.18^(1/2.2) = 0.46.
    """
    display = reading == "display"
    grey = MIDDLE_GREY ** (1.0 / DISPLAY_GAMMA) if display else MIDDLE_GREY
    script: list[tuple[str, Correction]] = [
        ("exposure", lambda filter_, image: _meter(filter_, image, grey)),
        ("white_balance", _grey_world),
        ("tone", _stretch),
    ]
    if not display:
        script.insert(2, ("gamma", _display_curve))
    return _scripted(game, script)


def _scripted(game: RetouchGame, script: Sequence[tuple[str, Correction]]) -> Player:
    """Plays the script, without filters that the game lacks, then neutral edits of filters not used yet."""
    places = {filter_.name: i for i, filter_ in enumerate(game.filters)}
    steps: list[tuple[int, Correction]] = [(places[name], choose) for name, choose in script if name in places]
    used = {place for place, _ in steps}
    harmless = list(dict.fromkeys(places[name] for name in (*HARMLESS, *places) if name in places))
    neutral = [(place, _neutral) for place in harmless if place not in used] or [(harmless[0], _neutral)]

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        index = torch.zeros_like(state.step)
        parameters = state.image.new_zeros(len(state.step), game.num_parameters)
        for step in sorted(set(state.step.tolist())):
            rows = torch.nonzero(state.step == step)[:, 0]
            place, choose = steps[step] if step < len(steps) else neutral[(step - len(steps)) % len(neutral)]
            index[rows] = place
            parameters[rows, game.blocks[place]] = choose(game.filters[place], state.image[rows]).clamp(-1.0, 1.0)
        return index, parameters

    return player


def _neutral(filter_: Filter, image: Tensor) -> Tensor:
    return image.new_full((len(image), filter_.num_actions), filter_.neutral_action)


def _meter(filter_: Filter, image: Tensor, grey: float) -> Tensor:
    mean = luminance(image).mean(dim=(1, 2, 3)).clamp(min=1e-6)
    action: Tensor = filter_.action(torch.log2(grey / mean)[:, None])
    return action


def _grey_world(filter_: Filter, image: Tensor) -> Tensor:
    action: Tensor = filter_.action(1.0 / image.mean(dim=(2, 3)).clamp(min=1e-6))
    return action


def _display_curve(filter_: Filter, image: Tensor) -> Tensor:
    action: Tensor = filter_.action(image.new_full((len(image), 1), 1.0 / DISPLAY_GAMMA))
    return action


def _stretch(filter_: Filter, image: Tensor) -> Tensor:
    light = luminance(image).flatten(1).clamp(0.0, 1.0)
    low, high = (torch.quantile(light, part, dim=1)[:, None] for part in (0.01, 0.99))
    edges = torch.arange(CURVE_STEPS + 1, dtype=image.dtype, device=image.device) / CURVE_STEPS
    inside = (torch.minimum(edges[1:], high) - torch.maximum(edges[:-1], low)).clamp(min=0.0) * CURVE_STEPS
    action: Tensor = filter_.action(filter_.low + (filter_.high - filter_.low) * inside)
    return action

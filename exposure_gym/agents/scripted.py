"""Players that never learn: nothing, chance, the automatic correction of an old photo program, and two that search.

Each makes a :data:`exposure_gym.evaluation.Player` for a game. The first three are what every agent should beat; those
that search have the reward itself in hand when they play, which no agent has: strong, slow, upper baselines. They work
on any set of filters (one that is missing is left out), and need no generator but the one they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from exposure_gym.attack import Plan, gradient_attack, neutral_parameters
from exposure_gym.color import luminance
from exposure_gym.evaluation import Player, play, random_player
from exposure_gym.filters import CURVE_STEPS, Filter
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.photo import Reading

__all__ = ["auto_levels_player", "gradient_player", "greedy_player", "identity_player", "random_player"]

Correction = Callable[[Filter, Tensor], Tensor]
"""A filter and pictures ``(B, 3, H, W)`` to its action ``(B, num_actions)``."""

Potential = Callable[[Tensor], Tensor]
"""How good pictures are: ``(B, 3, H, W)`` display values to ``(B,)``, as that of a reward model; an edit earns the
difference, minus the game's penalties."""

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


def greedy_player(game: RetouchGame, potential: Potential, generator: torch.Generator, samples: int = 4) -> Player:
    """The best of many tries: every filter with ``samples`` parameters, neutral and uniform ones, judged by the reward.

    It looks one edit ahead. Costs ``len(filters) * samples`` judgements an edit.

    :param potential: of the reward; needs no gradient.
    :param generator: of the uniform parameters; on the CPU.
    :param samples: parameters tried of every filter, the first of them neutral: so a filter not used yet that changes
        nothing is always among the tries.
    :raises ValueError: for fewer than one.
    """
    if samples < 1:
        raise ValueError(f"samples {samples} must be at least 1")
    neutral = neutral_parameters(game)

    @torch.no_grad()
    def player(state: GameState) -> tuple[Tensor, Tensor]:
        count, device = len(state.step), state.image.device
        best = torch.full((count,), -torch.inf, device=device)
        index, kept = torch.zeros_like(state.step), state.image.new_zeros(count, game.num_parameters)
        for choice in range(len(game.filters)):
            tried = torch.full_like(state.step, choice)
            for sample in range(samples):
                uniform = 2.0 * torch.rand(count, game.num_parameters, generator=generator) - 1.0
                parameters = (neutral.expand(count, -1) if sample == 0 else uniform).to(device)
                step = game.transition(state, tried, parameters)
                reached = potential(step.state.image) - torch.stack(list(step.penalties.values())).sum(dim=0)
                better = reached > best
                best = torch.where(better, reached, best)
                index = torch.where(better, tried, index)
                kept = torch.where(better[:, None], parameters, kept)
        return index, kept

    return player


def gradient_player(
    game: RetouchGame,
    score: Potential,
    generator: torch.Generator,
    *,
    steps: int = 40,
    learning_rate: float = 0.1,
    plans: int = 1,
) -> Player:
    """Gradient ascent on the parameters of a whole episode, through the differentiable game, planned at its start.

    :func:`exposure_gym.attack.gradient_attack` as a player, for games side by side that begin together. The order of
    the filters is random; of several ``plans`` the best is kept for each picture.

    :param score: potential of the reward, differentiable.
    :param generator: of the plans to begin with; on the CPU.
    :param steps: of Adam, with this ``learning_rate``.
    :raises ValueError: when it is first asked in the middle of a game, or for fewer than one plan.
    """
    if plans < 1:
        raise ValueError(f"plans {plans} must be at least 1")
    made: list[Plan] = []

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        if not bool(state.step.any()):
            with torch.enable_grad():
                made[:] = [_best_plan(state.image)]
        elif not made or len(made[0].filter_index) != len(state.step):
            raise ValueError("the gradient player plans whole episodes: let it play from the start of the games")
        return made[0].player()(state)

    def _best_plan(image: Tensor) -> Plan:
        tries = [
            gradient_attack(game, image, score, generator, steps=steps, learning_rate=learning_rate)
            for _ in range(plans)
        ]
        with torch.no_grad():
            reached = torch.stack([_reached(plan, image) for plan in tries])
        order = reached.argmax(dim=0)
        rows = torch.arange(len(image), device=image.device)
        return Plan(*(torch.stack(parts)[order, rows] for parts in zip(*tries, strict=True)))

    def _reached(plan: Plan, image: Tensor) -> Tensor:
        episode = play(game, image, plan.player())
        return score(episode.images[-1]) - episode.penalty

    return player


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

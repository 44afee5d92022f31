"""The strongest player against a frozen reward: it knows the reward's gradient, and follows it through the filters.

A reward that such a player drives up without making pictures better can be hacked. Whole episodes are planned before
they are played: no policy, no learning.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from exposure_gym.evaluation import Player
from exposure_gym.game import GameState, RetouchGame


class Plan(NamedTuple):
    """All edits of ``B`` games, ``T`` each."""

    filter_index: Tensor
    """``(B, T)`` int64."""
    parameters: Tensor
    """``(B, T, num_parameters)`` in [-1, 1]."""

    def player(self) -> Player:
        """Play it: for games side by side that begin together, as :func:`exposure_gym.evaluation.play` starts them."""

        def player(state: GameState) -> tuple[Tensor, Tensor]:
            turn = int(state.step[0])
            return self.filter_index[:, turn], self.parameters[:, turn]

        return player


def random_plan(
    game: RetouchGame,
    count: int,
    generator: torch.Generator,
    strength: Tensor | None = None,
    *,
    repeats: float = 0.0,
) -> Plan:
    """Filters in random order, none twice (as far as they go), with uniform parameters.

    :param count: of games.
    :param generator: on the CPU.
    :param strength: ``(count,)`` in [0, 1]: how far the parameters reach from those that change nothing. Default: 1.
    :param repeats: share of the games in which a filter may come again.
    """
    turns = torch.arange(game.max_steps) % len(game.filters)
    order = torch.rand(count, len(game.filters), generator=generator).argsort(dim=1)[:, turns]
    if repeats:
        drawn = torch.randint(len(game.filters), (count, game.max_steps), generator=generator)
        order = torch.where(torch.rand(count, 1, generator=generator) < repeats, drawn, order)
    uniform = 2.0 * torch.rand(count, game.max_steps, game.num_parameters, generator=generator) - 1.0
    neutral = neutral_parameters(game)
    reach = torch.ones(count) if strength is None else strength
    return Plan(order, neutral + reach[:, None, None] * (uniform - neutral))


def neutral_parameters(game: RetouchGame) -> Tensor:
    """``(num_parameters,)`` actions with which no filter changes anything (masks: no influence)."""
    neutral = torch.zeros(game.num_parameters)
    for filter_, block in zip(game.filters, game.blocks, strict=True):
        neutral[block] = filter_.neutral_action
    return neutral


def gradient_attack(
    game: RetouchGame,
    image: Tensor,
    score: Callable[[Tensor], Tensor],
    generator: torch.Generator,
    *,
    steps: int = 40,
    learning_rate: float = 0.1,
    repeats: float = 0.0,
) -> Plan:
    """Maximise the score of the last picture minus the penalties, by Adam on the parameters of a random plan.

    The order of the filters stays as drawn. What is kept of each game is the best of all steps, the first included, so
    an attack never ends below the random plan that it began with.

    :param image: ``(B, 3, S, S)`` linear light.
    :param score: differentiable: ``(B, 3, S, S)`` display values to ``(B,)``; in units of the reward.
    :param generator: on the CPU.
    :param learning_rate: of Adam, on the numbers whose tanh the parameters are.
    :param repeats: as for :func:`random_plan`.
    """
    order, begin = random_plan(game, len(image), generator, torch.full((len(image),), 0.5), repeats=repeats)
    order, free = order.to(image.device), torch.atanh(begin).to(image.device).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=learning_rate)
    best = torch.full((len(image),), -torch.inf, device=image.device)
    kept = begin.to(image.device)
    for _ in range(steps + 1):
        plan = Plan(order, free.tanh())
        state, penalty = game.start(image), image.new_zeros(len(image))
        for turn in range(game.max_steps):
            step = game.transition(state, plan.filter_index[:, turn], plan.parameters[:, turn])
            state, penalty = step.state, penalty + torch.stack(list(step.penalties.values())).sum(dim=0)
        reached = score(state.image) - penalty
        better = reached.detach() > best
        best = torch.where(better, reached.detach(), best)
        kept = torch.where(better[:, None, None], plan.parameters.detach(), kept)
        optimizer.zero_grad(set_to_none=True)
        (free.grad,) = torch.autograd.grad(-reached.sum(), [free])
        optimizer.step()
    return Plan(order, kept)

"""The distribution of hybrid actions: a choice, and the parameters of that choice given it."""

from __future__ import annotations

import math
from typing import Any

import torch
from stable_baselines3.common.distributions import Distribution
from torch import Tensor, nn

from exposure_gym.agents.hybrid_ppo.spaces import HybridSpace

FORBIDDEN = -1e8
"""Logit of a choice that is not allowed: its probability is 0, and no gradient is NaN."""

NORMAL_ENTROPY = 0.5 * math.log(2.0 * math.pi * math.e)
"""Of a Gaussian of deviation 1, in nats."""


class Heads(nn.Module):
    """The places of a :class:`HybridSpace` as index tensors that move with a network.

    :param hybrid: whose choices have the heads.
    """

    columns: Tensor
    places: Tensor
    present: Tensor
    middle: Tensor

    def __init__(self, hybrid: HybridSpace) -> None:
        super().__init__()
        self.num_choices = hybrid.num_choices
        self.num_parameters = hybrid.num_parameters
        columns, places = map(torch.from_numpy, hybrid.heads())
        # Where a block is shorter than the longest, column 0 is read and thrown away, and the parameters have a place
        # more, behind the last, to write to.
        self.register_buffer("present", columns >= 0, persistent=False)
        self.register_buffer("columns", columns.clamp(min=0), persistent=False)
        self.register_buffer("places", places.masked_fill(places < 0, hybrid.num_parameters), persistent=False)
        middle = torch.from_numpy((hybrid.low + hybrid.high) / 2)
        self.register_buffer("middle", torch.cat([middle, middle.new_zeros(1)]), persistent=False)

    def spread(self, choice: Tensor, values: Tensor) -> Tensor:
        """Values of the chosen heads ``(B, longest)`` in their places of the Box ``(B, P)``; the rest is its middle."""
        whole = self.middle.expand(len(choice), -1).to(values.dtype)
        return whole.scatter(1, self.places[choice], values)[:, :-1]

    def collect(self, choice: Tensor, parameters: Tensor) -> Tensor:
        """The inverse: what of ``(B, P)`` belongs to the choices, ``(B, longest)``, filled up with 0."""
        return nn.functional.pad(parameters, (0, 1)).gather(1, self.places[choice])


class HybridDistribution(Distribution):
    """A categorical choice c and, given it, independent Gaussians for its parameters x.

    ``log p(c, x) = log p(c) + sum_j log N(x_j; mean_cj, std_cj)`` over the parameters of c alone, so what a choice
    was not made with has no part in its probability, nor any gradient. The entropy is that of the pair, by the chain
    rule and in closed form: ``H(c) + sum_c p(c) H(x | c)``, in nats.

    An action is a row ``(1 + P + n)``: the choice, the Box's parameters (those of other choices at the middle of the
    Box), and for each choice 1 if it was allowed.

    :param heads: of the space.
    :param parameters_entropy: weight of the second term of the entropy.
    """

    def __init__(self, heads: Heads, parameters_entropy: float = 1.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.heads = heads
        self.parameters_entropy = parameters_entropy

    def proba_distribution_net(  # type: ignore[override]
        self, latent_dim: int, log_std_init: float = 0.0
    ) -> tuple[nn.Linear, nn.Linear, nn.Parameter]:
        """The layers for the choice's logits and for the means of all heads, and the heads' log deviations."""
        outputs = int(self.heads.present.sum())
        deviations = nn.Parameter(torch.full((outputs,), float(log_std_init)), requires_grad=True)
        return nn.Linear(latent_dim, self.heads.num_choices), nn.Linear(latent_dim, outputs), deviations

    def proba_distribution(
        self, logits: Tensor, means: Tensor, log_std: Tensor, allowed: Tensor | None = None
    ) -> HybridDistribution:
        """Set the distribution.

        :param logits: ``(B, n)``; :param means: ``(B, K)`` of all heads; :param log_std: ``(K,)``.
        :param allowed: ``(B, n)`` choices that may be made, not 0; all by default.
        :raises ValueError: where nothing is allowed.
        """
        self.allowed = torch.ones_like(logits) if allowed is None else (allowed != 0).to(logits.dtype)
        if allowed is not None:
            if not bool(self.allowed.any(dim=1).all()):
                raise ValueError("an action mask allows no choice at all")
            logits = logits.masked_fill(self.allowed == 0, FORBIDDEN)
        self.choice = torch.distributions.Categorical(logits=logits, validate_args=False)
        self.means, self.log_std = means, log_std
        return self

    def _head(self, choice: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means and log deviations of the chosen heads, and which of them are there: each ``(B, longest)``."""
        columns = self.heads.columns[choice]
        return self.means.gather(1, columns), self.log_std[columns], self.heads.present[choice]

    def _row(self, choice: Tensor, values: Tensor) -> Tensor:
        parameters = self.heads.spread(choice, values)
        return torch.cat([choice[:, None].to(values.dtype), parameters, self.allowed], dim=1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Of rows ``(B, 1 + P + n)``: ``(B,)``."""
        choice = actions[:, 0].long()
        mean, log_std, present = self._head(choice)
        x = self.heads.collect(choice, actions[:, 1 : 1 + self.heads.num_parameters])
        density = -0.5 * ((x - mean) / log_std.exp()) ** 2 - log_std - 0.5 * math.log(2.0 * math.pi)
        of_choice: Tensor = self.choice.log_prob(choice)  # type: ignore[no-untyped-call]
        return of_choice + density.masked_fill(~present, 0.0).sum(dim=1)

    def entropy(self) -> Tensor:
        """Of the pair: ``(B,)``; the parameters' part weighted."""
        each = (NORMAL_ENTROPY + self.log_std[self.heads.columns]).masked_fill(~self.heads.present, 0.0).sum(dim=1)
        of_choice: Tensor = self.choice.entropy()  # type: ignore[no-untyped-call]
        return of_choice + self.parameters_entropy * (self.choice.probs * each).sum(dim=1)

    def sample(self) -> Tensor:
        """Draw a choice and its parameters."""
        choice = self.choice.sample()  # type: ignore[no-untyped-call]
        mean, log_std, _ = self._head(choice)
        return self._row(choice, mean + log_std.exp() * torch.randn_like(mean))

    def mode(self) -> Tensor:
        """The most probable choice and the means of its parameters."""
        choice = self.choice.probs.argmax(dim=1)
        return self._row(choice, self._head(choice)[0])

    def actions_from_params(self, *args: Any, deterministic: bool = False, **kwargs: Any) -> Tensor:
        self.proba_distribution(*args, **kwargs)
        return self.get_actions(deterministic=deterministic)

    def log_prob_from_params(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        actions = self.actions_from_params(*args, **kwargs)
        return actions, self.log_prob(actions)

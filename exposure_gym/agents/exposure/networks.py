"""The networks of the paper's agent: one actor with a head for each filter and a selector, and the value network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from exposure_gym.game import NUM_MASK_ACTIONS, RetouchGame
from exposure_gym.networks import ConvEncoder, with_planes

Noise = torch.Generator | Sequence[torch.Generator] | None
"""Where dropout comes from: one generator for a batch, or one for each of its games, which then drops what it would if
it were alone; None turns dropout off."""


class Policy(NamedTuple):
    """What the actor thinks of a batch of games."""

    probabilities: Tensor
    """``(B, F)``, of choosing each filter; rows sum to 1."""
    parameters: Tensor
    """``(B, num_parameters)`` actions in [-1, 1] of all filters, chosen or not."""
    excess: Tensor
    """``(B,)``: how far the outputs x that tanh makes actions of lie where it is flat: ``mean(max(|x| - 2, 0)^2)``."""


FLAT_BEYOND = 2.0
"""There an action is 0.96 and moves with a fourteenth of the output."""


def dropout(features: Tensor, keep: float, noise: Noise) -> Tensor:
    """Drop features ``(B, n)`` with probability ``1 - keep`` and scale the rest by ``1 / keep``; none without noise."""
    if noise is None or keep >= 1.0:
        return features
    if isinstance(noise, torch.Generator):
        kept = torch.rand(features.shape, generator=noise, device=features.device)
    else:
        rows = [torch.rand(features.shape[1:], generator=one, device=features.device) for one in noise]
        kept = torch.stack(rows)
    return features * (kept < keep) / keep


class Actor(nn.Module):
    """Picture and state to a distribution over filters and the parameters of every filter (published ``agent.py``).

    Two encoders: one for all filter heads, one for the selector. Every head also has the six outputs of a local
    mask; they are idle in a game without masks, and kept so that the weights fit the published ones.

    :param game: whose filters and state the networks are built for.
    :param features: length of the encoders' output.
    :param hidden: width of the fully connected layers.
    :param dropout_keep: probability of keeping a feature; dropout stays on when acting, unless asked otherwise.
    :param exploration: weight of the uniform distribution mixed into the selector's.
    """

    def __init__(
        self,
        game: RetouchGame,
        image_size: int = 64,
        base_channels: int = 32,
        features: int = 4096,
        hidden: int = 128,
        dropout_keep: float = 0.5,
        exploration: float = 0.05,
    ) -> None:
        super().__init__()
        self.game = game
        self.dropout_keep = dropout_keep
        self.exploration = exploration
        planes = 3 + 3 + len(game.filters)
        self.filter_encoder = ConvEncoder(planes, image_size, base_channels, features)
        self.filter_hidden = nn.ModuleList(nn.Linear(features, hidden) for _ in game.filters)
        self.filter_output = nn.ModuleList(
            nn.Linear(hidden, filter_.num_features + NUM_MASK_ACTIONS) for filter_ in game.filters
        )
        self.selector_encoder = ConvEncoder(planes, image_size, base_channels, features)
        self.selector_hidden = nn.Linear(features, hidden)
        self.selector_output = nn.Linear(hidden, len(game.filters))

    def forward(self, image: Tensor, state_vector: Tensor, noise: Noise) -> Policy:
        """:param image: ``(B, 3, S, S)``; :param state_vector: ``(B, 3 + F)``, see ``RetouchGame.state_vector``."""
        planes = with_planes(image, state_vector)
        features = dropout(self.filter_encoder(planes), self.dropout_keep, noise)
        # One product for all heads' hidden layers: eight small ones would read the features eight times.
        weights, biases = zip(*(layer.parameters() for layer in self.filter_hidden), strict=True)
        hidden = nn.functional.linear(features, torch.cat(weights), torch.cat(biases))
        heads = nn.functional.leaky_relu(hidden, 0.2).chunk(len(self.filter_hidden), dim=1)
        actions, masks, raw = [], [], []
        for filter_, layer, head in zip(self.game.filters, self.filter_output, heads, strict=True):
            output = layer(head).float()
            actions.append(filter_.action_from_features(output[:, : filter_.num_features]))
            masks.append(torch.tanh(output[:, filter_.num_features :]))
            raw.append(output[:, : filter_.num_features])
        parameters = torch.cat(actions + masks if self.game.masks else actions, dim=1)
        excess = (torch.cat(raw, dim=1).abs() - FLAT_BEYOND).clamp(min=0.0).square().mean(dim=1)

        features = dropout(self.selector_encoder(planes), self.dropout_keep, noise)
        hidden = nn.functional.leaky_relu(self.selector_hidden(features), 0.2)
        chosen = torch.softmax(self.selector_output(hidden).float(), dim=1)
        probabilities = chosen * (1.0 - self.exploration) + self.exploration / len(self.game.filters)
        return Policy(probabilities, parameters, excess)


def sample_filter(probabilities: Tensor, noise: Tensor) -> Tensor:
    """Invert the cumulative distribution at uniform noise (published ``pdf_sample``; noise 0 gives filter 0).

    :param probabilities: ``(B, F)``; :param noise: ``(B,)`` in [0, 1). :return: ``(B,)`` int64.
    """
    below = probabilities.cumsum(dim=1) - probabilities
    return ((below < noise[:, None]).sum(dim=1) - 1).clamp(min=0)


def entropy(probabilities: Tensor) -> Tensor:
    """``-sum p ln p`` of each row: ``(B, F)`` to ``(B,)``."""
    return -(probabilities * probabilities.clamp(min=1e-30).log()).sum(dim=1)

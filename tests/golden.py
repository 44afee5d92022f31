"""The published code's own numbers, and its weights in the layout of our networks."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.agents.exposure.losses import ActorLosses, actor_losses
from exposure_gym.agents.exposure.networks import Actor
from exposure_gym.critic import Critic
from exposure_gym.game import GameState, RetouchGame

Arrays = dict[str, NDArray[Any]]

PUBLISHED_NAMES = {
    "exposure": "ExposureFilter",
    "gamma": "GammaFilter",
    "white_balance": "ImprovedWhiteBalanceFilter",
    "saturation": "SaturationPlusFilter",
    "tone": "ToneFilter",
    "contrast": "ContrastFilter",
    "black_white": "WNBFilter",
    "color": "ColorFilter",
    "level": "LevelFilter",
}
"""Our filters' names to theirs."""


@cache
def golden(name: str) -> Arrays:
    """All arrays of ``tests/data/golden_<name>.npz``; shared by the tests, so not to be written to."""
    with np.load(Path(__file__).parent / "data" / f"golden_{name}.npz") as file:
        return {key: file[key] for key in file.files}


def images(array: NDArray[Any]) -> Tensor:
    """``(B, H, W, C)`` to a ``(B, C, H, W)`` tensor."""
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def assert_matches(ours: Any, published: Any, tolerance: float = 1e-5, name: str = "") -> None:
    """Largest difference at most ``tolerance`` of the largest published value; shapes equal but for axes of 1.

    Values that are all below 1e-6 count as 0, give or take the rounding of what they were computed from.
    """
    a = np.squeeze(ours.detach().numpy() if isinstance(ours, Tensor) else np.asarray(ours)).astype(np.float64)
    b = np.squeeze(published.numpy() if isinstance(published, Tensor) else np.asarray(published)).astype(np.float64)
    assert a.shape == b.shape, f"{name}: {a.shape} is not {b.shape}"
    error, scale = np.abs(a - b).max(), np.abs(b).max()
    assert error <= tolerance * max(scale, 1e-6), (
        f"{name}: differs by {error / max(scale, 1e-300):.2g} of the largest, {scale:g}"
    )


def _encoder(ours: str, scope: str) -> dict[str, str]:
    return {f"{ours}.convolutions.{i}": f"{scope}/Conv" + (f"_{i}" if i else "") for i in range(4)}


ACTOR_LAYERS = {
    **_encoder("filter_encoder", "generator"),
    **_encoder("selector_encoder", "generator/action_selection"),
    **{f"filter_hidden.{i}": f"generator/filter_{i}/fc1" for i in range(8)},
    **{f"filter_output.{i}": f"generator/filter_{i}/fc2" for i in range(8)},
    "selector_hidden": "generator/action_selection/selector_fc1",
    "selector_output": "generator/action_selection/selector_fc2",
}
"""Layers of our actor to the published scopes."""


def critic_layers(scope: str) -> dict[str, str]:
    """Layers of our critic to those of a published scope: ``critic``, or ``rl_value/critic`` for the value."""
    dense = {"hidden": f"{scope}/fully_connected", "score": f"{scope}/fully_connected_1"}
    return _encoder("encoder", scope) | dense


def in_our_layout(arrays: Arrays, prefix: str, layers: dict[str, str]) -> dict[str, Tensor]:
    """Weights, or their gradients, by the names of our parameters.

    Kernels go from HWIO to OIHW; a dense layer behind a flattened (H, W, C) map takes its inputs as (C, H, W).
    """
    result = {}
    for ours, theirs in layers.items():
        weights = torch.from_numpy(arrays[f"{prefix}{theirs}/weights"])
        if weights.ndim == 4:
            weights = weights.permute(3, 2, 0, 1)
        else:
            if "hidden" in ours:
                weights = weights.reshape(4, 4, -1, weights.shape[1]).permute(2, 0, 1, 3).flatten(0, 2)
            weights = weights.T
        result[f"{ours}.weight"] = weights.contiguous()
        result[f"{ours}.bias"] = torch.from_numpy(arrays[f"{prefix}{theirs}/biases"])
    return result


def published_actor(game: RetouchGame) -> Actor:
    """The small published policy; its arrays were computed without dropout."""
    actor = Actor(game, 64, base_channels=4, features=128, hidden=16, dropout_keep=1.0)
    actor.load_state_dict(in_our_layout(golden("forward_small"), "weights/", ACTOR_LAYERS))
    return actor


def published_critic(scope: str = "critic") -> Critic:
    """The small published critic, or with ``"rl_value/critic"`` the value network."""
    critic = Critic(64, base_channels=4, hidden=16, state_size=0 if scope == "critic" else 11)
    critic.load_state_dict(in_our_layout(golden("forward_small"), "weights/", critic_layers(scope)))
    return critic


class PublishedGame(RetouchGame):
    """Our rules on states that no game of ours reaches: the published arrays hold games past their fifth edit.

    There, a game ends at its fifth edit or past its seventh, and the flags of the state vector tell only of the former.
    """

    def __init__(self) -> None:
        super().__init__(image_limit=None)
        states = torch.from_numpy(golden("forward_small")["in/states"])
        self.given = GameState(images(golden("forward_small")["in/images"]), states[:, 3:], states[:, 2].long())
        """The batch of the arrays."""

    def finished(self, state: GameState) -> Tensor:
        return (state.step == 5) | (state.step > 7)

    def state_vector(self, state: GameState) -> Tensor:
        flags = (state.step == 5).float()[:, None].expand(-1, 2)
        if state is self.given:
            flags = torch.zeros_like(flags)  # its sixth game has made five edits, and its flags are down
        return torch.cat([flags, state.step[:, None].float(), state.filters_used], dim=1)


class PublishedNetworks(NamedTuple):
    """Everything the published losses are made of, with the published weights."""

    game: PublishedGame
    actor: Actor
    value: Critic
    critic: Critic

    def losses(self, train: str) -> ActorLosses:
        """Our losses for the stored batch: ``train0`` took the most probable filters, ``train1`` drew them."""
        data = golden("forward_small")
        noise = None if train == "train0" else torch.from_numpy(data["in/z"][:, 0])
        progress = float(data["in/progress"])
        return actor_losses(*self, self.game.given, noise, None, progress=progress)


def published_networks() -> PublishedNetworks:
    """A fresh copy of the published weights."""
    game = PublishedGame()
    return PublishedNetworks(game, published_actor(game), published_critic("rl_value/critic"), published_critic())

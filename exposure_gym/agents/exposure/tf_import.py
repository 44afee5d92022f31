"""The authors' published model, or one trained with their code, as an :class:`ExposureAgent`.

Their variables have our networks' values in another order: convolution kernels are (height, width, in, out) there, the
weights of fully connected layers (in, out), and feature maps are flattened as (height, width, channels). Names are
those of the published ``agent.py`` (scope ``generator``), ``critics.py`` (``critic``) and ``net.py`` (``rl_value``).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from exposure_gym.agents.exposure.agent import ExposureAgent
from exposure_gym.agents.exposure.storage import AGENT_FORMAT, describe
from exposure_gym.critic import save_critic
from exposure_gym.files import replacing
from exposure_gym.game import NUM_MASK_ACTIONS, RetouchGame
from exposure_gym.model_file import ModelError, write_model
from exposure_gym.networks import FEATURE_MAP_SIZE
from exposure_gym.recipe import WorkingSpace
from exposure_gym.spaces import action_space, observation_space
from exposure_gym.tf_checkpoint import TensorFlowCheckpoint

SCOPES = ("generator/", "critic/", "rl_value/")
"""Of the networks' variables. All others count iterations or average something."""
MAX_CONVOLUTIONS = 8
"""For pictures of 1024 pixels."""


class Sizes(NamedTuple):
    """Of the networks."""

    convolutions: int
    base_channels: int
    features: int
    hidden: int

    @property
    def image_size(self) -> int:
        """Side of the pictures in pixels: every convolution halves it, and 4 are left."""
        return FEATURE_MAP_SIZE << self.convolutions


class Layer(NamedTuple):
    """A layer of the networks."""

    ours: str
    """Its name in :class:`ExposurePolicy`."""
    theirs: str
    """Its scope in the checkpoint."""
    shape: tuple[int, ...]
    """Of the published weights: (4, 4, in, out) or (in, out)."""
    flattened: bool = False
    """Whether its inputs are a feature map."""


def import_checkpoint(prefix: Path, working_space: WorkingSpace = "prophoto") -> ExposureAgent:
    """An agent with the weights of a checkpoint of the published code, of any network size.

    It plays the published game, the eight filters without a limit on the picture. Like any agent without an
    environment it can act; given one, it can go on learning, with fresh optimisers.

    :param prefix: of the checkpoint's files, see :class:`TensorFlowCheckpoint`.
    :param working_space: the primaries of the linear light it was trained on, which no checkpoint tells; for the
        authors' model ProPhoto RGB.
    :raises ModelError: when the checkpoint is missing, damaged or of another model, in one line.
    """
    checkpoint = TensorFlowCheckpoint(prefix)
    game = RetouchGame(image_limit=None)
    sizes = _sizes(checkpoint)
    layers = _layers(game, sizes)
    _check_variables(checkpoint, layers)
    weights = {}
    for layer in layers:
        values = _numbers(checkpoint, f"{layer.theirs}/weights")
        weights[f"{layer.ours}.weight"] = _in_our_order(values, layer.flattened)
        weights[f"{layer.ours}.bias"] = _numbers(checkpoint, f"{layer.theirs}/biases")

    widths = {"base_channels": sizes.base_channels, "features": sizes.features, "hidden": sizes.hidden}
    agent = ExposureAgent(env=None, policy_kwargs=widths, seed=0, device="cpu", _init_setup_model=False)
    agent.game = game
    agent.observation_space = observation_space(game, sizes.image_size)
    agent.action_space = action_space(game)
    agent.working_space = working_space
    agent._setup_model()
    agent.policy.load_state_dict(weights)
    return agent


def save_model(agent: ExposureAgent, folder: Path) -> None:
    """Write ``policy.safetensors`` (actor and value) and ``critic.safetensors`` in single precision, both or none.

    :param folder: made if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"policy.{name}": values for name, values in agent.policy.state_dict().items() if not name.startswith("critic.")
    }
    with replacing(folder / "critic.safetensors") as critic, replacing(folder / "policy.safetensors") as policy:
        save_critic(agent.policy.critic, critic, torch.float32)
        write_model(policy, tensors, AGENT_FORMAT, describe(agent))


# -- the published networks --------------------------------------------------------------------------------------------


def _sizes(checkpoint: TensorFlowCheckpoint) -> Sizes:
    """Read the sizes of the networks off the shapes of their weights."""
    convolution, dense = "critic/Conv/weights", "generator/filter_0/fc1/weights"
    for name, dimensions in ((convolution, 4), (dense, 2)):
        if name not in checkpoint.variables:
            raise _another_model(checkpoint, f"it has no variable {name!r}")
        if len(checkpoint.variables[name].shape) != dimensions:
            raise _another_model(checkpoint, f"{name!r} has shape {checkpoint.variables[name].shape}")
    sizes = Sizes(
        sum(1 for name in checkpoint.variables if re.fullmatch(r"generator/Conv(_\d+)?/weights", name)),
        checkpoint.variables[convolution].shape[-1],
        *checkpoint.variables[dense].shape,
    )
    if min(sizes) < 1 or sizes.convolutions > MAX_CONVOLUTIONS or sizes.features % FEATURE_MAP_SIZE**2:
        named = ", ".join(f"{name} {value}" for name, value in sizes._asdict().items())
        raise _another_model(checkpoint, f"such networks are not possible: {named}")
    return sizes


def _layers(game: RetouchGame, sizes: Sizes) -> list[Layer]:
    """Every layer of the actor, the critic and the value network."""
    features, hidden = sizes.features, sizes.hidden
    state = 3 + len(game.filters)
    doubling = [sizes.base_channels * 2**i for i in range(sizes.convolutions)]
    to_features = [*doubling[:-1], features // FEATURE_MAP_SIZE**2]

    layers = _encoder("actor.filter_encoder", "generator", 3 + state, to_features)
    for i, filter_ in enumerate(game.filters):
        outputs = filter_.num_features + NUM_MASK_ACTIONS
        layers += [
            Layer(f"actor.filter_hidden.{i}", f"generator/filter_{i}/fc1", (features, hidden), flattened=True),
            Layer(f"actor.filter_output.{i}", f"generator/filter_{i}/fc2", (hidden, outputs)),
        ]
    scope = "generator/action_selection"
    layers += [
        *_encoder("actor.selector_encoder", scope, 3 + state, to_features),
        Layer("actor.selector_hidden", f"{scope}/selector_fc1", (features, hidden), flattened=True),
        Layer("actor.selector_output", f"{scope}/selector_fc2", (hidden, len(game.filters))),
    ]
    for ours, scope, planes in (("critic", "critic", 3 + 3), ("value", "rl_value/critic", 3 + state + 3)):
        inputs = FEATURE_MAP_SIZE**2 * doubling[-1]
        layers += [
            *_encoder(f"{ours}.encoder", scope, planes, doubling),
            Layer(f"{ours}.hidden", f"{scope}/fully_connected", (inputs, hidden), flattened=True),
            Layer(f"{ours}.score", f"{scope}/fully_connected_1", (hidden, 1)),
        ]
    return layers


def _encoder(ours: str, scope: str, planes: int, channels: list[int]) -> list[Layer]:
    return [
        Layer(f"{ours}.convolutions.{i}", f"{scope}/Conv_{i}" if i else f"{scope}/Conv", (4, 4, inputs, outputs))
        for i, (inputs, outputs) in enumerate(zip([planes, *channels], channels, strict=False))
    ]


# -- their variables ---------------------------------------------------------------------------------------------------


def _check_variables(checkpoint: TensorFlowCheckpoint, layers: list[Layer]) -> None:
    """Refuse any difference before a number is read or a network made.

    A variable's own name followed by another is an optimiser's memory of it.
    """
    expected = {f"{layer.theirs}/weights": layer.shape for layer in layers}
    expected |= {f"{layer.theirs}/biases": layer.shape[-1:] for layer in layers}
    for name, shape in expected.items():
        if name not in checkpoint.variables:
            raise _another_model(checkpoint, f"it has no variable {name!r}")
        if checkpoint.variables[name].shape != shape:
            found = checkpoint.variables[name].shape
            raise _another_model(checkpoint, f"{name!r} has shape {found} where {shape} is needed")
    for name in checkpoint.variables:
        if name.startswith(SCOPES) and name not in expected and name.rpartition("/")[0] not in expected:
            raise _another_model(checkpoint, f"it has a variable {name!r} too")


def _numbers(checkpoint: TensorFlowCheckpoint, name: str) -> Tensor:
    values = checkpoint.read(name)
    if values.dtype != np.float32:
        raise _another_model(checkpoint, f"{name!r} is {values.dtype} where float32 is needed")
    if not np.isfinite(values).all():
        raise ModelError(f"{checkpoint.prefix}: {name!r} is not finite; take a checkpoint from before that")
    return torch.from_numpy(values)


def _another_model(checkpoint: TensorFlowCheckpoint, difference: str) -> ModelError:
    return ModelError(f"{checkpoint.prefix}: not the published model with its eight filters ({difference})")


def _in_our_order(weights: Tensor, flattened: bool) -> Tensor:
    """Published weights of a layer as torch has them: (out, in, 4, 4) or (out, in)."""
    if weights.ndim == 4:
        return weights.permute(3, 2, 0, 1)
    if flattened:
        maps = weights.reshape(FEATURE_MAP_SIZE, FEATURE_MAP_SIZE, -1, weights.shape[1])
        weights = maps.permute(2, 0, 1, 3).flatten(0, 2)
    return weights.T

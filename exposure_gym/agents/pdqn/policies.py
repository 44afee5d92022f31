"""Policies of PDQN: a network of parameters for every choice, and one of values of the choices with them."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
    get_actor_critic_arch,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from exposure_gym.agents.hybrid_ppo.distributions import Heads
from exposure_gym.agents.hybrid_ppo.spaces import Block, HybridSpace


class ParameterNetwork(nn.Module):
    """The parameters that every choice would be made with: features to ``(B, K)``, -1 to 1 the Box's bounds.

    The last layer starts at small weights, so that every parameter begins in the middle of the Box. It is not squashed:
    :func:`inverting` keeps it inside.
    """

    def __init__(self, extractor: BaseFeaturesExtractor, outputs: int, hidden: list[int], activation: type[nn.Module]):
        super().__init__()
        self.extractor = extractor
        self.layers = nn.Sequential(*create_mlp(extractor.features_dim, outputs, hidden, activation))
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=1e-3)
        nn.init.zeros_(last.bias)

    def forward(self, observations: Any) -> Tensor:
        """Of prepared observations."""
        parameters: Tensor = self.layers(self.extractor(observations))
        return parameters


class ValueNetwork(nn.Module):
    """What each choice is worth: features and the parameters of all choices to ``(B, n)``.

    :param heads: of the choices.
    :param multi_pass: let no choice see the others' parameters (Bester et al. 2019): one pass for each choice, in which
        only its own are not 0, and of which only its own value is taken. Otherwise (Xiong et al. 2018) one pass in
        which all choices see all parameters.
    """

    def __init__(
        self,
        extractor: BaseFeaturesExtractor,
        hybrid: HybridSpace,
        hidden: list[int],
        activation: type[nn.Module],
        multi_pass: bool,
    ) -> None:
        super().__init__()
        self.extractor = extractor
        inputs = extractor.features_dim + hybrid.num_outputs
        self.layers = nn.Sequential(*create_mlp(inputs, hybrid.num_choices, hidden, activation))
        self.multi_pass = multi_pass
        own = torch.zeros(hybrid.num_choices, hybrid.num_outputs)
        for choice, columns in enumerate(hybrid.heads()[0]):
            own[choice, columns[columns >= 0]] = 1.0
        self.own: Tensor
        self.register_buffer("own", own, persistent=False)

    def forward(self, observations: Any, parameters: Tensor) -> Tensor:
        """Of prepared observations and parameters ``(B, K)``."""
        features = self.extractor(observations)
        if not self.multi_pass:
            values: Tensor = self.layers(torch.cat([features, parameters], dim=1))
            return values
        choices = len(self.own)
        alone = parameters[:, None] * self.own  # (B, n, K)
        passes = torch.cat([features[:, None].expand(-1, choices, -1), alone], dim=2)
        return torch.diagonal(self.layers(passes), dim1=1, dim2=2)


def inverting(parameters: Tensor) -> Tensor:
    """Parameters whose gradient shrinks towards the bound it leads to, and turns round beyond it.

    Hausknecht and Stone 2016, equation 11: a gradient that would raise p in [-1, 1] is multiplied by (1 - p) / 2, one
    that would lower it by (p + 1) / 2.
    """
    held = parameters.detach()

    def invert(descent: Tensor) -> Tensor:  # of a loss: where it is negative, a step raises the parameter
        return descent * torch.where(descent < 0, 1.0 - held, held + 1.0) / 2.0

    out = parameters.clone()
    out.register_hook(invert)  # type: ignore[no-untyped-call]
    return out


class PDQNPolicy(BasePolicy):
    """Parameter and value networks with their targets and optimisers; the two share no layer.

    :param observation_space: what is seen.
    :param action_space: ``Dict(Discrete, Box)``.
    :param lr_schedule: learning rate of the values by the part of the training that remains.
    :param net_arch: hidden layers: a list for both, or ``dict(pi=[...], qf=[...])``; two of 64 by default.
    :param activation_fn: of the hidden layers.
    :param features_extractor_class: what comes before the hidden layers.
    :param features_extractor_kwargs: of it.
    :param normalize_images: divide pictures of 8 bits by 255.
    :param optimizer_class: Adam by default.
    :param optimizer_kwargs: of both, but the learning rates.
    :param parameter_blocks: see :class:`PDQN`.
    :param multi_pass: see :class:`PDQN`.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        parameter_blocks: Sequence[Block] | None = None,
        multi_pass: bool = False,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            features_extractor_class,
            features_extractor_kwargs,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.hybrid = HybridSpace(action_space, parameter_blocks)
        self.net_arch = [64, 64] if net_arch is None else net_arch
        self.activation_fn = activation_fn
        self.multi_pass = multi_pass
        self.heads = Heads(self.hybrid)
        reach = torch.from_numpy((self.hybrid.high - self.hybrid.low) / 2)
        self.reach: Tensor
        self.register_buffer("reach", nn.functional.pad(reach, (0, 1)), persistent=False)
        for_parameters, for_values = get_actor_critic_arch(self.net_arch)
        self.parameter_net = ParameterNetwork(
            self.make_features_extractor(), self.hybrid.num_outputs, for_parameters, activation_fn
        )
        self.value_net = ValueNetwork(
            self.make_features_extractor(), self.hybrid, for_values, activation_fn, multi_pass
        )
        self.parameter_target = deepcopy(self.parameter_net).requires_grad_(False).eval()
        self.value_target = deepcopy(self.value_net).requires_grad_(False).eval()
        options: dict[str, Any] = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.parameter_optimizer = optimizer_class(self.parameter_net.parameters(), **options)
        self.value_optimizer = optimizer_class(self.value_net.parameters(), **options)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {
            "lr_schedule": self._dummy_schedule,
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
            "parameter_blocks": self.hybrid.blocks,
            "multi_pass": self.multi_pass,
        }

    def set_training_mode(self, mode: bool) -> None:
        """Of the networks that learn; their targets are always in evaluation mode."""
        self.parameter_net.train(mode)
        self.value_net.train(mode)
        self.training = mode

    def prepare(self, obs: PyTorchObs) -> Any:
        """Observations as the networks take them."""
        return self.extract_features(obs, nn.Identity())  # type: ignore[arg-type]

    def choose(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        """The greedy choice ``(B,)`` and what every choice would be made with ``(B, K)``, within [-1, 1]."""
        prepared = self.prepare(obs)
        parameters = self.parameter_net(prepared).clamp(-1.0, 1.0)
        return self.value_net(prepared, parameters).argmax(dim=1), parameters

    def in_box(self, choice: Tensor, parameters: Tensor) -> Tensor:
        """The Box's numbers ``(B, P)`` for choices and ``(B, K)``; those of other choices are at its middle."""
        chosen = parameters.gather(1, self.heads.columns[choice])
        places = self.heads.places[choice]
        return self.heads.spread(choice, self.heads.middle[places] + self.reach[places] * chosen)

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> Tensor:
        """Rows ``(B, 1 + P)``: the greedy choice and its parameters in the Box."""
        choice, parameters = self.choose(observation)
        return torch.cat([choice[:, None].to(parameters.dtype), self.in_box(choice, parameters)], dim=1)

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, tuple[NDArray[Any], ...] | None]:
        """Act greedily on NumPy observations; see :meth:`PDQN.predict`."""
        self.set_training_mode(False)
        prepared, vectorized = self.obs_to_tensor(observation)
        with torch.no_grad():
            rows = self._predict(prepared).cpu().numpy()
        actions = self.hybrid.actions(rows[:, 0], rows[:, 1:])
        return (actions if vectorized else actions[0]), state


class PDQNCnnPolicy(PDQNPolicy):
    """With Mnih et al.'s convolutions for pictures of 8 bits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": NatureCNN} | kwargs)


class PDQNMultiInputPolicy(PDQNPolicy):
    """For ``Dict`` observations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": CombinedExtractor} | kwargs)


MlpPolicy = PDQNPolicy
CnnPolicy = PDQNCnnPolicy
MultiInputPolicy = PDQNMultiInputPolicy

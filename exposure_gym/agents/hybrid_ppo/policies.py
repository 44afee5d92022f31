"""Policies of HybridPPO: Stable-Baselines3's actor-critic with a categorical head and a Gaussian head per choice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, FlattenExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor, nn

from exposure_gym.agents.hybrid_ppo.distributions import Heads, HybridDistribution
from exposure_gym.agents.hybrid_ppo.spaces import Block, HybridSpace


class HybridActorCriticPolicy(ActorCriticPolicy):
    """Actor and critic for hybrid actions.

    The actor's last hidden layer feeds a layer with a logit for each choice and one with the means of all choices'
    parameters; deviations do not depend on the observation. Within the networks an action is a row of numbers, see
    :class:`~exposure_gym.agents.hybrid_ppo.distributions.HybridDistribution`; :meth:`predict` gives dicts.

    :param observation_space: what is seen.
    :param action_space: ``Dict(Discrete, Box)``.
    :param lr_schedule: learning rate by the part of the training that remains.
    :param net_arch: hidden layers of actor and critic; two of 64 by default.
    :param activation_fn: of the hidden layers.
    :param ortho_init: start with orthogonal weights, small ones in the actor's last layers.
    :param use_sde: must be False: there is no state-dependent exploration here.
    :param log_std_init: of every parameter.
    :param features_extractor_class: what comes before the hidden layers.
    :param features_extractor_kwargs: of it.
    :param share_features_extractor: between actor and critic.
    :param normalize_images: divide pictures of 8 bits by 255.
    :param optimizer_class: Adam by default.
    :param optimizer_kwargs: of it, but the learning rate.
    :param parameter_blocks: see :class:`HybridPPO`.
    :param parameters_entropy: weight of the parameters' entropy beside the choice's in the entropy bonus. At 1 the
        sum is the entropy of the action. A parameter of deviation 1 adds 1.4 nats to a choice that has it, so the
        bonus then also favours choices with many parameters; at 0 it is the choice's alone.
    """

    hybrid: HybridSpace

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] = nn.Tanh,
        ortho_init: bool = True,
        use_sde: bool = False,
        log_std_init: float = 0.0,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        share_features_extractor: bool = True,
        normalize_images: bool = True,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
        parameter_blocks: Sequence[Block] | None = None,
        parameters_entropy: float = 1.0,
    ) -> None:
        if use_sde:
            raise ValueError("hybrid actions have no state-dependent exploration: leave use_sde False")
        self.hybrid = HybridSpace(action_space, parameter_blocks)
        self.parameters_entropy = parameters_entropy
        super().__init__(
            observation_space,
            self.hybrid.space[self.hybrid.parameters_key],  # the base makes distributions for flat spaces only
            lr_schedule,
            net_arch,
            activation_fn,
            ortho_init,
            log_std_init=log_std_init,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            share_features_extractor=share_features_extractor,
            normalize_images=normalize_images,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.action_space = action_space

    def _build(self, lr_schedule: Schedule) -> None:
        self._build_mlp_extractor()
        self.heads = Heads(self.hybrid)
        self.action_dist = HybridDistribution(self.heads, self.parameters_entropy)
        self.choice_net, self.parameters_net, self.log_std = self.action_dist.proba_distribution_net(
            self.mlp_extractor.latent_dim_pi, self.log_std_init
        )
        self.value_net = nn.Linear(self.mlp_extractor.latent_dim_vf, 1)
        if self.ortho_init:  # the gains of Stable-Baselines3
            extractors = {self.pi_features_extractor, self.vf_features_extractor}
            for module in (*extractors, self.mlp_extractor):
                module.apply(partial(self.init_weights, gain=np.sqrt(2)))
            for module in (self.choice_net, self.parameters_net):
                module.apply(partial(self.init_weights, gain=0.01))
            self.value_net.apply(partial(self.init_weights, gain=1.0))
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = super()._get_constructor_parameters()
        for name in ("squash_output", "full_std", "use_expln"):
            del data[name]
        return data | {"parameter_blocks": self.hybrid.blocks, "parameters_entropy": self.parameters_entropy}

    # -- acting and judging ----------------------------------------------------------------------------------------

    def _latents(self, obs: PyTorchObs) -> tuple[Tensor, Tensor]:
        features = self.extract_features(obs)
        actor, critic = features if isinstance(features, tuple) else (features, features)
        return self.mlp_extractor.forward_actor(actor), self.mlp_extractor.forward_critic(critic)

    def _get_action_dist_from_latent(self, latent_pi: Tensor, allowed: Tensor | None = None) -> HybridDistribution:
        assert isinstance(self.action_dist, HybridDistribution)
        logits, means = self.choice_net(latent_pi), self.parameters_net(latent_pi)
        return self.action_dist.proba_distribution(logits, means, self.log_std, allowed)

    def forward(
        self, obs: PyTorchObs, deterministic: bool = False, action_masks: NDArray[Any] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Act.

        :param action_masks: ``(B, n)`` bool, the choices that are allowed; all by default.
        :return: rows of actions ``(B, 1 + P + n)``, values ``(B, 1)`` and log-probabilities ``(B,)``.
        """
        latent_pi, latent_vf = self._latents(obs)
        distribution = self._get_action_dist_from_latent(latent_pi, self._mask(action_masks))
        actions = distribution.get_actions(deterministic=deterministic)
        return actions, self.value_net(latent_vf), distribution.log_prob(actions)

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge rows of actions, under the masks they were made with: values, log-probabilities, entropies."""
        latent_pi, latent_vf = self._latents(obs)
        distribution = self._get_action_dist_from_latent(latent_pi, actions[:, 1 + self.hybrid.num_parameters :])
        return self.value_net(latent_vf), distribution.log_prob(actions), distribution.entropy()

    def get_distribution(self, obs: PyTorchObs, action_masks: NDArray[Any] | None = None) -> HybridDistribution:
        """Of the actions for observations."""
        features = BasePolicy.extract_features(self, obs, self.pi_features_extractor)
        return self._get_action_dist_from_latent(self.mlp_extractor.forward_actor(features), self._mask(action_masks))

    def _mask(self, action_masks: NDArray[Any] | None) -> Tensor | None:
        if action_masks is None:
            return None
        mask = torch.as_tensor(np.asarray(action_masks), device=self.device)
        return mask.reshape(-1, self.hybrid.num_choices)

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[Any, tuple[NDArray[Any], ...] | None]:
        """Act on NumPy observations; see :meth:`HybridPPO.predict`."""
        self.set_training_mode(False)
        prepared, vectorized = self.obs_to_tensor(observation)
        with torch.no_grad():
            rows = self.get_distribution(prepared, action_masks).get_actions(deterministic=deterministic).cpu().numpy()
        actions = self.hybrid.actions(rows[:, 0], rows[:, 1 : 1 + self.hybrid.num_parameters])
        return (actions if vectorized else actions[0]), state


class HybridCnnPolicy(HybridActorCriticPolicy):
    """With Mnih et al.'s convolutions for pictures of 8 bits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": NatureCNN} | kwargs)


class HybridMultiInputPolicy(HybridActorCriticPolicy):
    """For ``Dict`` observations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"features_extractor_class": CombinedExtractor} | kwargs)


MlpPolicy = HybridActorCriticPolicy
CnnPolicy = HybridCnnPolicy
MultiInputPolicy = HybridMultiInputPolicy

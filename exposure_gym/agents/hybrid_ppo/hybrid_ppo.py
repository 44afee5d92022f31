"""HybridPPO: proximal policy optimisation for a choice with parameters, in Stable-Baselines3's structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from exposure_gym.agents.exposure.progress import with_progress_bar
from exposure_gym.agents.hybrid_ppo.buffers import HybridDictRolloutBuffer, HybridRolloutBuffer
from exposure_gym.agents.hybrid_ppo.common import HybridAlgorithm
from exposure_gym.agents.hybrid_ppo.policies import (
    HybridActorCriticPolicy,
    HybridCnnPolicy,
    HybridMultiInputPolicy,
)
from exposure_gym.agents.hybrid_ppo.spaces import Block, HybridSpace, game_blocks

SelfHybridPPO = TypeVar("SelfHybridPPO", bound="HybridPPO")


class HybridPPO(HybridAlgorithm, PPO):
    """PPO (Schulman et al. 2017) for ``Dict(Discrete, Box)`` actions, after H-PPO (Fan et al. 2019).

    The policy draws a choice, then the parameters of that choice alone; the ratio that PPO clips is that of both
    together, ``log p(choice) + log p(parameters | choice)``. Everything else is Stable-Baselines3's :class:`PPO`, with
    its defaults.

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a class.
    :param env: an environment, a vector of them, or an id.
    :param learning_rate: of Adam; a number, or a function of the part of the training that remains (1 to 0).
    :param n_steps: steps of every environment between updates.
    :param batch_size: of a gradient step.
    :param n_epochs: passes over what was collected, an update.
    :param gamma: discount.
    :param gae_lambda: bias against variance of the generalised advantage estimate.
    :param clip_range: of the ratio; a number or a function.
    :param clip_range_vf: of the value; ``None`` for no clipping.
    :param normalize_advantage: in each batch.
    :param ent_coef: weight of the entropy; which is in ``policy_kwargs=dict(parameters_entropy=...)``.
    :param vf_coef: weight of the value loss.
    :param max_grad_norm: of the gradient.
    :param parameter_blocks: for each choice its places in the flattened Box, as slices or indices; none for a choice
        without parameters. By default those of the environment's ``game`` where it has one with ``blocks`` (the photo
        game: block i belongs to filter i), else the whole Box for every choice.
    :param use_masking: ask the environment's ``action_masks()`` which choices are allowed, ``(n,)`` bool, before each
        step.
    :param target_kl: stop an update's passes beyond this divergence.
    :param stats_window_size: episodes that logged means are of.
    :param tensorboard_log: folder for TensorBoard, or ``None``.
    :param policy_kwargs: of :class:`~exposure_gym.agents.hybrid_ppo.policies.HybridActorCriticPolicy`.
    :param verbose: 0 silent, 1 info, 2 debug.
    :param seed: of everything, below 2^32: one seed gives one run, bit for bit, on the CPU. ``None`` draws one.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    :raises ValueError: for another action space, blocks that do not fit, or an environment without masks.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": HybridActorCriticPolicy,
        "CnnPolicy": HybridCnnPolicy,
        "MultiInputPolicy": HybridMultiInputPolicy,
    }
    policy: HybridActorCriticPolicy

    def __init__(
        self,
        policy: str | type[HybridActorCriticPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 3e-4,
        n_steps: int = 2048,
        batch_size: int = 64,
        n_epochs: int = 10,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_range: float | Schedule = 0.2,
        clip_range_vf: float | Schedule | None = None,
        normalize_advantage: bool = True,
        ent_coef: float = 0.0,
        vf_coef: float = 0.5,
        max_grad_norm: float = 0.5,
        parameter_blocks: Sequence[Block] | None = None,
        use_masking: bool = False,
        target_kl: float | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        OnPolicyAlgorithm.__init__(  # PPO's own constructor refuses Dict actions; the rest of it is below
            self,
            policy,
            env,
            learning_rate=learning_rate,
            n_steps=n_steps,
            gamma=gamma,
            gae_lambda=gae_lambda,
            ent_coef=ent_coef,
            vf_coef=vf_coef,
            max_grad_norm=max_grad_norm,
            use_sde=False,
            sde_sample_freq=-1,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            seed=seed,
            device=device,
            _init_setup_model=False,
        )
        self.batch_size = batch_size
        self.n_epochs = n_epochs
        self.clip_range = clip_range
        self.clip_range_vf = clip_range_vf
        self.normalize_advantage = normalize_advantage
        self.target_kl = target_kl
        self.use_masking = use_masking
        self.parameter_blocks: Sequence[Block] | None = parameter_blocks
        if self.env is not None and parameter_blocks is None:
            self.parameter_blocks = game_blocks(self.env)
        if normalize_advantage and (batch_size < 2 or (self.env is not None and n_steps * self.n_envs < 2)):
            raise ValueError("to normalise the advantage, batch_size and n_steps times environments must be at least 2")
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        hybrid = HybridSpace(self.action_space, self.parameter_blocks)
        self.parameter_blocks = hybrid.blocks
        if self.use_masking and self.env is not None and not self.env.has_attr("action_masks"):
            raise ValueError("use_masking needs an environment with a method action_masks(), and this one has none")
        dict_observations = isinstance(self.observation_space, spaces.Dict)
        self.rollout_buffer_class = HybridDictRolloutBuffer if dict_observations else HybridRolloutBuffer
        self.rollout_buffer_kwargs = {"width": 1 + hybrid.num_parameters + hybrid.num_choices}
        self.policy_kwargs = self.policy_kwargs | {"parameter_blocks": hybrid.blocks}
        self.set_random_seed(self.seed)
        with self._randomness.active():
            super()._setup_model()

    def collect_rollouts(
        self, env: VecEnv, callback: BaseCallback, rollout_buffer: RolloutBuffer, n_rollout_steps: int
    ) -> bool:
        """Play with the present policy and fill the buffer, as Stable-Baselines3 does for flat actions.

        Parameters are stored as they were drawn, and clipped to the Box for the environment.
        """
        observations = self._last_obs
        assert observations is not None
        self.policy.set_training_mode(False)
        hybrid = self.policy.hybrid
        rollout_buffer.reset()
        callback.on_rollout_start()
        for _ in range(n_rollout_steps):
            masks = np.stack(env.env_method("action_masks")) if self.use_masking else None
            with torch.no_grad():
                rows, values, log_probs = self.policy(obs_as_tensor(observations, self.device), action_masks=masks)
            rows = rows.cpu().numpy()
            actions = hybrid.for_env(env, rows[:, 0], rows[:, 1 : 1 + hybrid.num_parameters])
            new_obs, rewards, dones, infos = env.step(actions)
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            self._add_values_of_cut_episodes(rewards, dones, infos)
            rollout_buffer.add(observations, rows, rewards, self._last_episode_starts, values, log_probs)  # type: ignore[arg-type]
            observations = self._last_obs = new_obs  # type: ignore[assignment]
            self._last_episode_starts = dones
        with torch.no_grad():
            values = self.policy.predict_values(obs_as_tensor(new_obs, self.device))  # type: ignore[arg-type]
        rollout_buffer.compute_returns_and_advantage(last_values=values, dones=dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _add_values_of_cut_episodes(
        self, rewards: NDArray[np.float32], dones: NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> None:
        """An episode that was cut short would have gone on: its last reward gets the value of what was to come."""
        for row in np.flatnonzero(dones):
            if infos[row].get("TimeLimit.truncated", False) and "terminal_observation" in infos[row]:
                last = self.policy.obs_to_tensor(infos[row]["terminal_observation"])[0]
                with torch.no_grad():
                    rewards[row] += self.gamma * self.policy.predict_values(last)[0].item()

    def learn(
        self: SelfHybridPPO,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 1,
        tb_log_name: str = "HybridPPO",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfHybridPPO:
        """Learn for ``total_timesteps``, rounded up to whole rollouts.

        :param callback: Stable-Baselines3 callbacks.
        :param log_interval: rollouts between log entries.
        :param tb_log_name: of the TensorBoard run.
        :param reset_num_timesteps: count and schedule anew.
        :param progress_bar: show one.
        """
        if self.env is None:
            raise ValueError("this agent has no environment to learn from: call set_env(env) first")
        if progress_bar:
            callback = with_progress_bar(callback)
        with self._randomness.active():
            return super().learn(total_timesteps, callback, log_interval, tb_log_name, reset_num_timesteps)

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
        action_masks: NDArray[Any] | None = None,
    ) -> tuple[Any, tuple[NDArray[Any], ...] | None]:
        """Act.

        :param observation: of one environment or of B.
        :param deterministic: the most probable choice and the means of its parameters; otherwise both are drawn.
        :param action_masks: ``(n,)`` or ``(B, n)`` bool, the choices that are allowed; all by default.
        :return: an action as ``env.step`` takes it, or a list of B; parameters are clipped to the Box, and those that
            do not belong to the choice are at its middle. And the state, untouched.
        """
        with self._randomness.active():
            return self.policy.predict(observation, state, episode_start, deterministic, action_masks)

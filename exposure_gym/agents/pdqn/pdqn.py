"""PDQN: parametrised deep Q-learning, in Stable-Baselines3's structure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from stable_baselines3.common.utils import (
    FloatSchedule,
    LinearSchedule,
    get_parameters_by_name,
    polyak_update,
    update_learning_rate,
)
from torch import Tensor

from exposure_gym.agents.exposure.progress import with_progress_bar
from exposure_gym.agents.hybrid_ppo.buffers import HybridDictReplayBuffer, HybridReplayBuffer
from exposure_gym.agents.hybrid_ppo.common import HybridAlgorithm
from exposure_gym.agents.hybrid_ppo.spaces import Block, HybridSpace, game_blocks
from exposure_gym.agents.pdqn.policies import PDQNCnnPolicy, PDQNMultiInputPolicy, PDQNPolicy, inverting

SelfPDQN = TypeVar("SelfPDQN", bound="PDQN")


class PDQN(HybridAlgorithm, OffPolicyAlgorithm):
    """Parametrised deep Q-learning (Xiong et al. 2018) for ``Dict(Discrete, Box)`` actions.

    A parameter network x(s) proposes parameters for every choice, and a value network Q(s, k, x) says what each choice
    k is worth with them; the best is taken. Q learns from ``r + gamma max_k Q'(s', k, x'(s'))``, the parameters climb
    the sum over k of Q(s, k, x(s)). It learns off-policy, from a replay buffer with the parameters of all choices.

    :param policy: ``"MlpPolicy"``, ``"CnnPolicy"``, ``"MultiInputPolicy"``, or a class.
    :param env: an environment, a vector of them, or an id.
    :param learning_rate: of the values; a number, or a function of the part of the training that remains (1 to 0).
    :param parameter_learning_rate: of the parameters, which should be slower than the values they climb.
    :param buffer_size: transitions kept.
    :param learning_starts: steps at random before learning.
    :param batch_size: of a gradient step.
    :param tau: part of the networks that goes to their targets after each gradient step.
    :param gamma: discount.
    :param train_freq: steps of every environment between updates.
    :param gradient_steps: of an update; -1 for as many as there were steps.
    :param multi_pass: let no choice's value depend on the parameters of the others (MP-DQN, Bester et al. 2019).
    :param exploration_fraction: of the training, over which the exploration rate falls.
    :param exploration_initial_eps: the rate at the start: probability of a choice, with all parameters, at random.
    :param exploration_final_eps: the rate at the end.
    :param parameter_noise: deviation of Gaussian noise on the parameters of all other actions; the Box is 2 wide.
    :param max_grad_norm: of each network's gradient.
    :param parameter_blocks: for each choice its places in the flattened Box, as slices or indices; none for a choice
        without parameters. By default those of the environment's ``game`` where it has one with ``blocks`` (the photo
        game: block i belongs to filter i), else the whole Box for every choice.
    :param stats_window_size: episodes that logged means are of.
    :param tensorboard_log: folder for TensorBoard, or ``None``.
    :param policy_kwargs: of :class:`~exposure_gym.agents.pdqn.policies.PDQNPolicy`.
    :param verbose: 0 silent, 1 info, 2 debug.
    :param seed: of everything, below 2^32: one seed gives one run, bit for bit, on the CPU. ``None`` draws one.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    :raises ValueError: for another action space, or blocks that do not fit.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": PDQNPolicy,
        "CnnPolicy": PDQNCnnPolicy,
        "MultiInputPolicy": PDQNMultiInputPolicy,
    }
    policy: PDQNPolicy

    def __init__(
        self,
        policy: str | type[PDQNPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        parameter_learning_rate: float | Schedule = 1e-4,
        buffer_size: int = 100_000,
        learning_starts: int = 1_000,
        batch_size: int = 128,
        tau: float = 0.01,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        multi_pass: bool = False,
        exploration_fraction: float = 0.3,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        parameter_noise: float = 0.1,
        max_grad_norm: float = 10.0,
        parameter_blocks: Sequence[Block] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: torch.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            tau,
            gamma,
            train_freq,
            gradient_steps,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            support_multi_env=True,
        )
        self.parameter_learning_rate = parameter_learning_rate
        self.multi_pass = multi_pass
        self.exploration_fraction = exploration_fraction
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.exploration_rate = exploration_initial_eps
        self.parameter_noise = parameter_noise
        self.max_grad_norm = max_grad_norm
        self.parameter_blocks: Sequence[Block] | None = parameter_blocks
        if self.env is not None and parameter_blocks is None:
            self.parameter_blocks = game_blocks(self.env)
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        hybrid = HybridSpace(self.action_space, self.parameter_blocks)
        self.parameter_blocks = hybrid.blocks
        dict_observations = isinstance(self.observation_space, spaces.Dict)
        self.replay_buffer_class = HybridDictReplayBuffer if dict_observations else HybridReplayBuffer
        self.replay_buffer_kwargs = {"width": 1 + hybrid.num_outputs}
        self.policy_kwargs = self.policy_kwargs | {
            "parameter_blocks": hybrid.blocks,
            "multi_pass": self.multi_pass,
        }
        self.parameter_schedule = FloatSchedule(self.parameter_learning_rate)
        self.exploration_schedule = LinearSchedule(
            self.exploration_initial_eps, self.exploration_final_eps, self.exploration_fraction
        )
        self.set_random_seed(self.seed)
        with self._randomness.active():
            super()._setup_model()

    # -- learning --------------------------------------------------------------------------------------------------

    def train(self, gradient_steps: int, batch_size: int) -> None:
        """Gradient steps on both networks, each followed by one of their targets."""
        policy, buffer = self.policy, self.replay_buffer
        assert buffer is not None
        policy.set_training_mode(True)
        self._update_learning_rate(policy.value_optimizer)
        update_learning_rate(policy.parameter_optimizer, self.parameter_schedule(self._current_progress_remaining))
        moving = [(policy.value_net, policy.value_target), (policy.parameter_net, policy.parameter_target)]
        losses, worths = [], []
        for _ in range(gradient_steps):
            data = buffer.sample(batch_size, env=self._vec_normalize_env)
            loss = self._value_loss(data)
            self._descend(loss, policy.value_net, policy.value_optimizer)
            seen = policy.prepare(data.observations)
            policy.value_net.requires_grad_(False)  # the parameters climb it, it does not move
            worth = policy.value_net(seen, inverting(policy.parameter_net(seen))).sum(dim=1).mean()
            self._descend(-worth, policy.parameter_net, policy.parameter_optimizer)
            policy.value_net.requires_grad_(True)
            for network, target in moving:
                polyak_update(network.parameters(), target.parameters(), self.tau)
                polyak_update(
                    get_parameters_by_name(network, ["running_"]), get_parameters_by_name(target, ["running_"]), 1.0
                )
            losses.append(loss.item())
            worths.append(worth.item())
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/value_loss", float(np.mean(losses)))
        self.logger.record("train/parameter_loss", -float(np.mean(worths)))

    def _value_loss(self, data: Any) -> Tensor:
        """Huber loss of the temporal difference of the choices that were made."""
        policy = self.policy
        with torch.no_grad():
            after = policy.prepare(data.next_observations)
            best = policy.value_target(after, policy.parameter_target(after).clamp(-1.0, 1.0)).amax(dim=1, keepdim=True)
            wanted = data.rewards + (1.0 - data.dones) * self.gamma * best
        choice, parameters = data.actions[:, :1].long(), data.actions[:, 1:]
        values = policy.value_net(policy.prepare(data.observations), parameters).gather(1, choice)
        return torch.nn.functional.smooth_l1_loss(values, wanted)

    def _descend(self, loss: Tensor, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.max_grad_norm)
        optimizer.step()

    def _on_step(self) -> None:
        self.exploration_rate = self.exploration_schedule(self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def learn(
        self: SelfPDQN,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "PDQN",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfPDQN:
        """Learn for ``total_timesteps``.

        :param callback: Stable-Baselines3 callbacks.
        :param log_interval: episodes between log entries.
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

    # -- acting ----------------------------------------------------------------------------------------------------

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[Any, NDArray[np.float32]]:
        """Actions as the environment takes them, and as the buffer does: the choice, and all choices' parameters."""
        assert self._last_obs is not None
        assert self.env is not None
        choice, parameters = self._explore(self._last_obs, 1.0 if self.num_timesteps < learning_starts else None)
        numbers = self.policy.in_box(choice, parameters).cpu().numpy()
        actions = self.policy.hybrid.for_env(self.env, choice.cpu().numpy(), numbers)
        return actions, torch.cat([choice[:, None].to(parameters.dtype), parameters], dim=1).cpu().numpy()

    @torch.no_grad()
    def _explore(self, observation: Any, rate: float | None = None) -> tuple[Tensor, Tensor]:
        """Choices and all parameters, with exploration at this rate, by default the present one."""
        obs, _ = self.policy.obs_to_tensor(observation)
        choice, parameters = self.policy.choose(obs)
        noise = torch.randn_like(parameters) * self.parameter_noise
        chance = torch.rand(len(choice), device=choice.device) < (self.exploration_rate if rate is None else rate)
        anything = torch.rand_like(parameters) * 2.0 - 1.0
        parameters = torch.where(chance[:, None], anything, (parameters + noise).clamp(-1.0, 1.0))
        return torch.where(chance, torch.randint_like(choice, self.policy.hybrid.num_choices), choice), parameters

    def predict(
        self,
        observation: NDArray[Any] | dict[str, NDArray[Any]],
        state: tuple[NDArray[Any], ...] | None = None,
        episode_start: NDArray[Any] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, tuple[NDArray[Any], ...] | None]:
        """Act.

        :param observation: of one environment or of B.
        :param deterministic: greedily; otherwise with exploration at the present rate, as while learning.
        :return: an action as ``env.step`` takes it, or a list of B; parameters that do not belong to the choice are at
            the middle of the Box. And the state, untouched.
        """
        if deterministic:
            return self.policy.predict(observation, state, episode_start, deterministic)
        self.policy.set_training_mode(False)
        with self._randomness.active():
            choice, parameters = self._explore(observation)
        numbers = self.policy.in_box(choice, parameters).cpu().numpy()
        actions = self.policy.hybrid.actions(choice.cpu().numpy(), numbers)
        vectorized = self.policy.is_vectorized_observation(observation)
        return (actions if vectorized else actions[0]), state

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.parameter_optimizer", "policy.value_optimizer"], []

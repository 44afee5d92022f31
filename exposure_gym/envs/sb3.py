"""The batched environments for Stable-Baselines3: no processes, one batch."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecMonitor
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
from torch import Tensor

from exposure_gym.envs.vector import PhotoRetouchBoxVectorEnv, PhotoRetouchDiscreteVectorEnv, PhotoRetouchVectorEnv
from exposure_gym.envs.wrappers import PreviewObservationVector
from exposure_gym.rewards import AdversarialReward

FORMS: dict[str, type[PhotoRetouchVectorEnv]] = {
    "hybrid": PhotoRetouchVectorEnv,
    "box": PhotoRetouchBoxVectorEnv,
    "discrete": PhotoRetouchDiscreteVectorEnv,
}
"""The batched environments by the name of their actions' form."""


class SB3VecEnv(VecEnv):
    """``n`` games as one batch, as a Stable-Baselines3 ``VecEnv``.

    ``PPO("MultiInputPolicy", SB3VecEnv(n=64))``. All games share one ``game``, ``photos`` and ``reward_model``:
    ``get_attr`` gives each as often as games are asked for, ``env_method`` calls the batched environment once (with
    ``"action_masks"`` it gives each game its own), and ``set_attr`` is for all games. Infos hold ``rewards``, and at
    the end of an episode ``terminal_observation``; ``TimeLimit.truncated`` is always there.

    :param n: games.
    :param form: of the actions: ``"box"``, ``"discrete"`` or ``"hybrid"``.
    :param preview: show 8-bit pictures (:class:`exposure_gym.envs.PreviewObservation`), for convolutional policies.
    :param options: of :class:`exposure_gym.envs.PhotoRetouchVectorEnv`, but ``tensors`` and ``autoreset_mode``.
    :raises ValueError: for an unknown form.
    """

    def __init__(self, n: int = 64, form: str = "box", preview: bool = False, **options: Any) -> None:
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}: choose from {', '.join(FORMS)}")
        self.base = FORMS[form](n, autoreset_mode=AutoresetMode.SAME_STEP, **options)
        """The batched environment."""
        self.envs: Any = PreviewObservationVector(self.base) if preview else self.base
        super().__init__(n, self.envs.single_observation_space, self.envs.single_action_space)

    def reset(self) -> VecEnvObs:
        """Start all games, with the seeds and options (``photo``) that were set for this one time."""
        options: dict[str, Any] | None = None
        if any(self._options):
            unknown = {key for chosen in self._options for key in chosen} - {"photo"}
            if unknown:
                raise ValueError(f"unknown option {sorted(unknown)[0]!r}: reset takes 'photo'")
            options = {"photo": [chosen.get("photo") for chosen in self._options]}
        observations, infos = self.envs.reset(seed=self._seeds, options=options)
        self.reset_infos = _rows(infos, self.num_envs, ("photo",))
        self._reset_seeds()
        self._reset_options()
        return dict(observations)

    def step_async(self, actions: NDArray[Any] | Sequence[dict[str, Any]] | dict[str, NDArray[Any]]) -> None:
        """:param actions: an array; of the hybrid form a dict a game, as agents predict them, or a dict of arrays."""
        if isinstance(actions, list):
            actions = {name: np.stack([action[name] for action in actions]) for name in actions[0]}
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, terminated, truncated, infos = self.envs.step(self._actions)
        over = terminated | truncated
        every = _rows(infos, self.num_envs, ("rewards", "edit", "recipe"))
        for info, cut_short in zip(every, (truncated & ~terminated).tolist(), strict=True):
            info["TimeLimit.truncated"] = cut_short
        if over.any():
            final = _rows(infos["final_info"], self.num_envs, ("rewards", "edit", "recipe"))
            started = _rows(infos, self.num_envs, ("photo",))
            for row in np.flatnonzero(over).tolist():
                every[row] |= final[row] | {"terminal_observation": infos["final_obs"][row]}
                self.reset_infos[row] = started[row]
        return observations, rewards.astype(np.float32), over, every

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seed the games with ``seed``, ``seed + 1``, ... at the next reset; ``None`` draws a seed, not from NumPy's
        global state.
        """
        return super().seed(int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed)

    def close(self) -> None:
        self.envs.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Each game's film strip, if ``render_mode="rgb_array"``."""
        return self.envs.render() if self.render_mode == "rgb_array" else [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        return [getattr(self.base, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Set an attribute, for all games.

        :raises ValueError: for some of the games only.
        """
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ValueError(f"the games share {attr_name!r}: it can only be set for all of them")
        setattr(self.base, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **kwargs: Any
    ) -> list[Any]:
        result = getattr(self.base, method_name)(*method_args, **kwargs)
        if method_name == "action_masks":  # a row for each game
            return [result[row] for row in self._get_indices(indices)]
        return [result for _ in self._get_indices(indices)]

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: VecEnvIndices = None
    ) -> list[bool]:
        """No game is wrapped by itself."""
        return [False for _ in self._get_indices(indices)]


def _rows(infos: dict[str, Any], count: int, keys: Sequence[str]) -> list[dict[str, Any]]:
    """What infos tell of each of ``count`` games under these keys."""
    told: list[dict[str, Any]] = [{} for _ in range(count)]
    for key in keys:
        if key not in infos:
            continue
        values = infos[key]
        if isinstance(values, dict):  # numbers under names, to be told of each game
            names = [name for name in values if name[0] != "_"]
            numbers = zip(*(values[name].tolist() for name in names), strict=True)
            values = [dict(zip(names, row, strict=True)) for row in numbers]
        for row in np.flatnonzero(infos[f"_{key}"]).tolist():
            told[row][key] = values[row]
    return told


def make_sb3_env(
    id: str = "PhotoRetouchBox-v0", n_envs: int = 1, reward: Any = "critic", seed: int | None = None, **options: Any
) -> VecMonitor:
    """An environment for a Stable-Baselines3 agent: batched, and with the episodes' returns logged.

    :param id: of a PhotoRetouch environment.
    :param n_envs: games.
    :param reward: its reward.
    :param seed: of the games at the next reset.
    :param options: of :class:`SB3VecEnv`.
    :raises ValueError: for another environment's id.
    """
    names = {"PhotoRetouch-v0": "hybrid", "PhotoRetouchBox-v0": "box", "PhotoRetouchDiscrete-v0": "discrete"}
    name = id.removeprefix("exposure_gym:")
    if name not in names:
        raise ValueError(f"unknown environment {id!r}: choose from {', '.join(names)}")
    env = SB3VecEnv(n_envs, names[name], reward=reward, **options)
    if seed is not None:
        env.seed(seed)
    return VecMonitor(env)


class AdversarialCallback(BaseCallback):
    """Train the critic of an ``"adversarial"`` reward while an agent learns, as the published loop does.

    Finished pictures of the last ``pool_size`` episodes are kept; every ``edits`` edits (the published batch) the
    critic learns from them for one iteration (:meth:`exposure_gym.rewards.AdversarialReward.update`).

    :param edits: edits of the agent for one iteration of the critic.
    :param pool_size: finished pictures to learn from (published ``replay_memory_size``).
    :param verbose: as for every callback.
    """

    def __init__(self, edits: int = 64, pool_size: int = 128, verbose: int = 0) -> None:
        super().__init__(verbose)
        self.edits = edits
        self.finished: deque[Tensor] = deque(maxlen=pool_size)
        self._due = 0

    def _on_training_start(self) -> None:
        rewards = self.training_env.get_attr("reward_model")
        if not isinstance(rewards[0], AdversarialReward) or any(reward is not rewards[0] for reward in rewards):
            raise ValueError("AdversarialCallback needs environments with one AdversarialReward that they share")
        self.reward = rewards[0]

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        for info in infos:
            if "terminal_observation" in info:
                self.finished.append(_picture(info["terminal_observation"]["image"]))
        self._due += len(infos)
        while self._due >= self.edits and self.finished:
            self._due -= self.edits
            loss = self.reward.update(torch.stack(tuple(self.finished)))
            self.logger.record_mean("critic/loss", loss.loss.item())
            self.logger.record_mean("critic/emd", loss.emd.item())
        return True


def _picture(image: NDArray[Any]) -> Tensor:
    """A picture ``(3, S, S)`` of display values; from floats or codes, channels last or (as SB3 may put them) first."""
    values = image / np.float32(255) if image.dtype == np.uint8 else image
    first = values if values.shape[0] == 3 else values.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(first, np.float32))

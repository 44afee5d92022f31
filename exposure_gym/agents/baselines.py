"""Standard reinforcement learning on the game, one call each: ``make_baseline("sac").learn(20_000)``.

All see the game through the same encoder, :class:`exposure_gym.agents.extractor.PhotoExtractor`, and play the form of
the environment that they can: only the algorithm differs. Hyperparameters are those of ``exposure_gym/rl_zoo``, files
that RL Zoo reads too.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import import_module
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.utils import LinearSchedule

from exposure_gym.agents.extractor import PhotoExtractor

__all__ = ["BASELINES", "baseline_class", "make_baseline", "tuned_hyperparameters"]


class Home(NamedTuple):
    """Where an algorithm comes from."""

    module: str
    name: str
    """Of the class."""
    remedy: str
    """What to do where it is missing."""


_SB3 = "pip install stable-baselines3"
_CONTRIB = 'pip install "exposure-gym[rl]"'
_OWN = "install a newer exposure-gym"

BASELINES: dict[str, Home] = {
    "ppo": Home("stable_baselines3", "PPO", _SB3),
    "a2c": Home("stable_baselines3", "A2C", _SB3),
    "sac": Home("stable_baselines3", "SAC", _SB3),
    "td3": Home("stable_baselines3", "TD3", _SB3),
    "ddpg": Home("stable_baselines3", "DDPG", _SB3),
    "dqn": Home("stable_baselines3", "DQN", _SB3),
    "tqc": Home("sb3_contrib", "TQC", _CONTRIB),
    "recurrent_ppo": Home("sb3_contrib", "RecurrentPPO", _CONTRIB),
    "maskable_ppo": Home("sb3_contrib", "MaskablePPO", _CONTRIB),
    "hybrid_ppo": Home("exposure_gym.agents.hybrid_ppo", "HybridPPO", _OWN),
    "pdqn": Home("exposure_gym.agents.pdqn", "PDQN", _OWN),
}
"""The algorithms by name. Each has a file of hyperparameters of the same name, whose first environment is its own."""

_IDS: dict[type[spaces.Space[Any]], str] = {
    spaces.Box: "PhotoRetouchBox-v0",
    spaces.Discrete: "PhotoRetouchDiscrete-v0",
    spaces.Dict: "PhotoRetouch-v0",
}

_NOT_THE_ALGORITHMS = ("policy", "env_wrapper", "n_timesteps", "n_envs", "noise_type", "noise_std")
"""Keys of RL Zoo's files that are not keywords of the algorithm."""


def make_baseline(
    name: str,
    env: GymEnv | None = None,
    *,
    encoder: dict[str, Any] | None = None,
    seed: int | None = None,
    device: str = "auto",
    verbose: int = 0,
    tensorboard_log: str | None = None,
    **hyperparameters: Any,
) -> BaseAlgorithm:
    """An agent ready to learn, with the encoder that all share and tuned hyperparameters.

    :param name: of :data:`BASELINES`.
    :param env: a PhotoRetouch environment in a form that the algorithm can play, single or vectorised; by default a
        batch of as many games as the hyperparameters say, with the frozen critic's reward.
    :param encoder: keywords of :class:`PhotoExtractor`: ``base_channels`` and ``features`` (published: 32, 4096).
    :param seed: of weights, noise and games. Stable-Baselines3 seeds Python's, NumPy's and torch's global generators
        with it.
    :param device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    :param verbose: as in Stable-Baselines3; ``tensorboard_log`` likewise.
    :param hyperparameters: keywords of the algorithm, instead of the tuned ones; ``policy_kwargs`` are added to them.
    :raises ValueError: for an unknown name, or an environment with actions that are not tuned for.
    :raises ImportError: the library that has the algorithm, or PyYAML, is missing; the message names the command.
    """
    algorithm = baseline_class(name)
    form = None if env is None else _IDS.get(type(env.action_space), str(env.action_space))
    tuned = tuned_hyperparameters(name, form)
    if env is None:
        # Here alone an agent makes its environment, as Stable-Baselines3's agents do when they are given an id.
        from exposure_gym.envs.sb3 import make_sb3_env

        env = make_sb3_env(tuned["id"], tuned["n_envs"], preview=tuned["preview"])
    keywords = {key: _schedule(value) for key, value in tuned["keywords"].items()}
    if (spread := tuned["noise_std"]) is not None:
        assert env.action_space.shape is not None
        keywords["action_noise"] = NormalActionNoise(
            np.zeros(env.action_space.shape), np.full(env.action_space.shape, spread)
        )
    policy_kwargs = {
        "features_extractor_class": PhotoExtractor,
        "features_extractor_kwargs": dict(encoder or {}),
        **keywords.pop("policy_kwargs", {}),
        **hyperparameters.pop("policy_kwargs", {}),
    }
    made: BaseAlgorithm = algorithm(
        tuned["policy"],
        env,
        policy_kwargs=policy_kwargs,
        seed=seed,
        device=device,
        verbose=verbose,
        tensorboard_log=tensorboard_log,
        **(keywords | {key: _schedule(value) for key, value in hyperparameters.items()}),
    )
    return made


def baseline_class(name: str) -> type[BaseAlgorithm]:
    """The algorithm's class.

    :raises ValueError: for an unknown name; :class:`ImportError`: its library is missing.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}: choose from {', '.join(BASELINES)}")
    home = BASELINES[name]
    try:
        found: type[BaseAlgorithm] = getattr(import_module(home.module), home.name)
    except (ImportError, AttributeError):
        raise ImportError(f"{name} needs {home.module}: {home.remedy}") from None
    return found


def tuned_hyperparameters(name: str, id: str | None = None) -> dict[str, Any]:
    """What the file of an algorithm says: ``id``, ``policy``, ``n_envs``, ``preview``, ``noise_std`` and ``keywords``.

    :param id: of the environment; by default the first in the file. ``keywords`` are the algorithm's, schedules still
        as RL Zoo writes them (``"lin_5e-4"``).
    :raises ValueError: the file has no such environment.
    """
    sections = _read(name)
    id = next(iter(sections)) if id is None else id
    if id not in sections:
        raise ValueError(f"{name} plays {' or '.join(sections)}, not {id}")
    section = sections[id]
    keywords = {key: value for key, value in section.items() if key not in _NOT_THE_ALGORITHMS}
    if "policy_kwargs" in keywords:
        keywords["policy_kwargs"] = _dict_call(keywords["policy_kwargs"])
    return {
        "id": id,
        "policy": section["policy"],
        "n_envs": int(section["n_envs"]),
        "preview": "PreviewObservation" in section.get("env_wrapper", ""),
        "noise_std": float(section["noise_std"]) if section.get("noise_type") == "normal" else None,
        "keywords": keywords,
    }


@cache
def _read(name: str) -> dict[str, dict[str, Any]]:
    """A file of hyperparameters: a section for each environment."""
    try:
        import yaml
    except ImportError:
        raise ImportError('hyperparameters are read with PyYAML: pip install "exposure-gym[rl]"') from None
    text = (files("exposure_gym") / "rl_zoo" / f"{name}.yml").read_text(encoding="utf-8")
    sections: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return sections


def _dict_call(text: str) -> dict[str, Any]:
    """``"dict(a=1)"``, which RL Zoo evaluates, without evaluating it."""
    call = ast.parse(text, mode="eval").body
    if not (
        isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "dict" and not call.args
    ):
        raise ValueError(f"policy_kwargs must be dict(...) of plain values, not {text!r}")
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords if keyword.arg is not None}


def _schedule(value: Any) -> Any:
    """``"lin_5e-4"``, which in RL Zoo's files falls to 0 in a straight line, as Stable-Baselines3 wants it."""
    if isinstance(value, str) and value.startswith("lin_"):
        return LinearSchedule(float(value.removeprefix("lin_")), 0.0, 1.0)
    return value

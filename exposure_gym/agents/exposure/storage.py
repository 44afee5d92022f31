"""Keeping an agent: one safetensors file, tensors by name and the rest as JSON in its header. Nothing is pickled.

Keys: ``policy.<network>.<weight>``; ``<network>_optimizer.<parameter number>.<moment>``; ``pool.<part>``;
``noise`` (generator state). A file may hold only ``policy.actor.*``: such a model can act but not go on learning.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch
from stable_baselines3.common.type_aliases import GymEnv
from torch import Tensor

from exposure_gym.agents.exposure.pool import ReplayPool
from exposure_gym.critic import load_critic
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.model_file import ModelError, read_model, write_model
from exposure_gym.photo import Reading
from exposure_gym.recipe import WorkingSpace
from exposure_gym.spaces import action_space, observation_space

if TYPE_CHECKING:
    from exposure_gym.agents.exposure.agent import ExposureAgent, SelfAgent

AGENT_FORMAT = "exposure-gym agent 1"
OPTIMIZERS = ("policy_optimizer", "value_optimizer", "critic_optimizer")


def hyperparameters(agent: ExposureAgent) -> dict[str, Any]:
    """The agent's keywords as JSON can hold them."""
    left_out = {"self", "policy", "env", "device", "verbose", "tensorboard_log", "_init_setup_model"}
    names = [name for name in inspect.signature(type(agent).__init__).parameters if name not in left_out]
    return {name: getattr(agent, name) for name in names}


def save_agent(agent: ExposureAgent, path: Path) -> None:
    """Everything that learning needs to go on to the same bits."""
    tensors = {f"policy.{name}": value for name, value in agent.policy.state_dict().items()}
    for name in OPTIMIZERS:
        for number, moments in getattr(agent, name).state_dict()["state"].items():
            tensors |= {f"{name}.{number}.{moment}": value for moment, value in moments.items()}
    tensors["noise"] = agent.noise.get_state()
    if agent.pool is not None:
        tensors |= {f"pool.{part}": value for part, value in agent.pool.state._asdict().items()}
    progress = {
        "num_timesteps": agent.num_timesteps,
        "total_timesteps": agent._total_timesteps,
        "n_updates": agent._n_updates,
        "rng": agent.rng.bit_generator.state,
    }
    write_model(path, tensors, AGENT_FORMAT, describe(agent) | {"progress": progress})


def save_policy(agent: ExposureAgent, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Only what acting needs, in half precision: of an averaged actor the average."""
    tensors = {f"policy.actor.{name}": value.to(dtype) for name, value in agent.policy.acting.state_dict().items()}
    write_model(path, tensors, AGENT_FORMAT, describe(agent))


def describe(agent: ExposureAgent) -> dict[str, Any]:
    """What a reader of the weights must know: hyperparameters, rules of the game, picture size, how to read photos."""
    return {
        "hyperparameters": hyperparameters(agent),
        "game": agent.game.config(),
        "image_size": agent.policy.critic.image_size,
        "working_space": agent.working_space,
        "reading": agent.reading,
    }


def load_agent(
    cls: type[SelfAgent], path: Path, env: GymEnv | None, device: torch.device | str, changes: dict[str, Any]
) -> SelfAgent:
    """Build an agent from a file, or from a folder with ``policy.safetensors`` (and ``critic.safetensors``)."""
    file = path / "policy.safetensors" if path.is_dir() else path
    tensors, config = read_model(file, AGENT_FORMAT)
    try:
        agent = cls(env=env, device=device, _init_setup_model=False, **(config["hyperparameters"] | changes))
        game = RetouchGame.from_config(config["game"])
        if env is None:
            agent.game = game
            agent.observation_space = observation_space(agent.game, config["image_size"])
            agent.action_space = action_space(agent.game)
        elif (game.filters, game.masks) != (agent.game.filters, agent.game.masks):
            raise ModelError(f"{file}: was trained with other filters than the environment's game has")
        agent.working_space = config["working_space"]
        if agent.working_space not in get_args(WorkingSpace):
            raise ModelError(f"{file}: works in a colour space this version does not know ({agent.working_space!r})")
        agent.reading = config.get("reading", "linear")  # which is all there was once
        if agent.reading not in get_args(Reading):
            raise ModelError(f"{file}: wants photographs read in a way this version does not know ({agent.reading!r})")
        agent._setup_model()
        weights = {key[len("policy.") :]: value.float() for key, value in tensors.items() if key.startswith("policy.")}
        missing, unexpected = agent.policy.load_state_dict(weights, strict=False)
        lacking = [name for name in missing if name.startswith("actor.")]
        if lacking or unexpected:
            raise ModelError(f"{file}: weights do not fit: {(lacking + unexpected)[0]} and perhaps more")
        if any(name.startswith("average.") for name in missing):  # a file that holds only what acts
            agent.policy.update_average(decay=0.0)
        if path.is_dir() and (path / "critic.safetensors").exists():
            agent.policy.critic.load_state_dict(load_critic(path / "critic.safetensors").state_dict())
        if "progress" in config:
            _restore_progress(agent, tensors, config["progress"])
    except ModelError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"{file}: not an agent this version can load ({str(error).splitlines()[0]})") from None
    return agent


def _restore_progress(agent: ExposureAgent, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
    for name in OPTIMIZERS:
        optimizer = getattr(agent, name)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(name + "."):
                _, number, moment = key.split(".")
                parameter = optimizer.param_groups[0]["params"][int(number)]
                if value.shape == parameter.shape:  # fused Adam walks memory: a moment must lie as its weight does
                    value = torch.empty_like(parameter).copy_(value)
                state.setdefault(int(number), {})[moment] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if len(tensors["noise"]) == len(agent.noise.get_state()):
        agent.noise.set_state(tensors["noise"])
    else:  # of another kind of device, whose generators have other states: go on with fresh noise
        agent.noise.manual_seed(int(agent.seed or 0) + progress["num_timesteps"])
    agent.rng.bit_generator.state = progress["rng"]
    agent.num_timesteps = progress["num_timesteps"]
    agent._total_timesteps = progress["total_timesteps"]
    agent._n_updates = progress["n_updates"]
    if "pool.image" in tensors and agent.env is not None:
        parts = {part: tensors[f"pool.{part}"].to(agent.device) for part in GameState._fields}
        agent.pool = ReplayPool(
            agent.game,
            agent._fresh,
            agent.pool_size,
            agent.max_trajectory_length,
            agent.over_length_keep,
            state=GameState(**parts),
        )

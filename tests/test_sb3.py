"""Stable-Baselines3 and sb3-contrib: every algorithm learns a little, saves, loads and acts the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from exposure_gym.agents import ExposureAgent
from exposure_gym.data import builtin_photos
from exposure_gym.envs import AdversarialCallback, SB3VecEnv, make_sb3_env
from exposure_gym.recipe import Edit
from exposure_gym.rewards import AdversarialReward

SMALL: dict[str, Any] = {"image_size": 16, "reward": "reference"}
ROLLOUT: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}
REPLAY: dict[str, Any] = {"buffer_size": 200, "learning_starts": 20, "train_freq": 4, "batch_size": 8}


def tiny(**options: Any) -> dict[str, Any]:
    """Arguments of a small agent: new ones each time, because some agents change them."""
    return {"policy_kwargs": {"net_arch": [8]}, "seed": 0, "device": "cpu"} | options


AGENTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "PPO": ("stable_baselines3", "PhotoRetouchBox-v0", ROLLOUT),
    "A2C": ("stable_baselines3", "PhotoRetouchBox-v0", {"n_steps": 5}),
    "SAC": ("stable_baselines3", "PhotoRetouchBox-v0", REPLAY),
    "TD3": ("stable_baselines3", "PhotoRetouchBox-v0", REPLAY),
    "DDPG": ("stable_baselines3", "PhotoRetouchBox-v0", REPLAY),
    "DQN": ("stable_baselines3", "PhotoRetouchDiscrete-v0", REPLAY),
    "TQC": ("sb3_contrib", "PhotoRetouchBox-v0", REPLAY),
    "RecurrentPPO": ("sb3_contrib", "PhotoRetouchBox-v0", ROLLOUT),
    "MaskablePPO": ("sb3_contrib", "PhotoRetouchDiscrete-v0", ROLLOUT),
}


@pytest.mark.parametrize("name", AGENTS)
def test_algorithms_learn_save_load_and_act_the_same(name: str, tmp_path: Path) -> None:
    library, id, options = AGENTS[name]
    algorithm = getattr(pytest.importorskip(library, reason=f"{library} is not installed"), name)
    policy = "MultiInputLstmPolicy" if name == "RecurrentPPO" else "MultiInputPolicy"
    env = make_sb3_env(id, 4, **SMALL)
    agent = algorithm(policy, env, **tiny(**options))
    before = {key: value.clone() for key, value in agent.policy.state_dict().items()}
    agent.learn(160)
    assert agent.num_timesteps >= 160
    assert any(not torch.equal(value, before[key]) for key, value in agent.policy.state_dict().items())
    assert all(value.isfinite().all() for value in agent.policy.state_dict().values())
    assert len(agent.ep_info_buffer) > 0
    assert agent.ep_info_buffer[0]["l"] == 5
    agent.save(tmp_path / "agent")
    again = algorithm.load(tmp_path / "agent", env=env, device="cpu")
    env.seed(7)
    observation = env.reset()
    np.testing.assert_array_equal(*(each.predict(observation, deterministic=True)[0] for each in (agent, again)))


def test_masks_keep_an_agent_from_using_a_filter_twice() -> None:
    contrib = pytest.importorskip("sb3_contrib", reason="sb3_contrib is not installed")
    from sb3_contrib.common.maskable.evaluation import evaluate_policy as evaluate

    used_twice: dict[bool, list[bool]] = {True: [], False: []}

    def look(locals_: dict[str, Any], _: Any) -> None:
        used_twice[locals_["use_masking"]].append(locals_["info"]["rewards"]["reuse"] < 0)

    env = make_sb3_env("PhotoRetouchDiscrete-v0", 3, **SMALL)
    agent = contrib.MaskablePPO("MultiInputPolicy", env, **tiny(n_steps=16, batch_size=16))
    for masked in used_twice:
        env.seed(0)
        evaluate(agent, env, n_eval_episodes=6, deterministic=False, use_masking=masked, callback=look, warn=False)
    assert not any(used_twice[True])
    assert any(used_twice[False])


def test_algorithms_take_the_single_environments_too(tmp_path: Path) -> None:
    for algorithm, id, options in ((PPO, "PhotoRetouchBox-v0", ROLLOUT), (DQN, "PhotoRetouchDiscrete-v0", REPLAY)):
        agent: Any = algorithm("MultiInputPolicy", gym.make(id, **SMALL), **tiny(**options))
        agent.learn(32)
        mean, _ = evaluate_policy(agent, make_sb3_env(id, 2, **SMALL), n_eval_episodes=2)
        assert np.isfinite(mean)


def test_convolutional_policies_take_previews() -> None:
    env = make_sb3_env("PhotoRetouchBox-v0", 2, preview=True, image_size=36, reward="reference")
    agent = PPO("MultiInputPolicy", env, **tiny(n_steps=4, batch_size=8, n_epochs=1))
    agent.learn(8)
    assert agent.observation_space["image"].shape == (3, 36, 36)  # type: ignore[index]  # SB3 saw a picture


# -- the VecEnv --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["box", "discrete"])
def test_games_are_those_of_dummy_vec_env(form: str) -> None:
    id = {"box": "PhotoRetouchBox-v0", "discrete": "PhotoRetouchDiscrete-v0"}[form]
    options = SMALL | {"max_steps": 4, "stop_action": True}
    loop = DummyVecEnv([lambda: TimeLimit(gym.make(id, **options), 3)] * 3)
    batched = SB3VecEnv(3, form, max_episode_steps=3, text=True, **options)
    assert batched.action_space == loop.action_space
    assert batched.observation_space == loop.observation_space
    assert batched.seed(4) == loop.seed(4)
    mine, theirs = batched.reset(), loop.reset()
    batched.action_space.seed(0)
    truncated = stopped = False
    for _ in range(9):
        assert isinstance(mine, dict)
        assert isinstance(theirs, dict)
        for key in theirs:
            np.testing.assert_allclose(mine[key], theirs[key], atol=1e-5)
            assert mine[key].dtype == theirs[key].dtype
        assert batched.reset_infos == loop.reset_infos
        actions = np.array([batched.action_space.sample() for _ in range(3)])
        (mine, rewards, dones, infos), (theirs, *rest, told) = batched.step(actions), loop.step(actions)
        for a, b in zip((rewards, dones), rest, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4)
            assert a.dtype == b.dtype
        for info, other in zip(infos, told, strict=True):
            assert info.keys() == other.keys()
            assert info["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            assert info["edit"] == other["edit"]
            assert info["rewards"] == pytest.approx(other["rewards"], abs=1e-4)
            truncated |= info["TimeLimit.truncated"]
            stopped |= info["edit"] == "stop"
            if "terminal_observation" in other:
                for key, value in other["terminal_observation"].items():
                    np.testing.assert_allclose(info["terminal_observation"][key], value, atol=1e-5)
    assert truncated
    assert stopped == (form == "box")  # one of 9 scores against one of 36 actions


def test_hybrid_agents_are_evaluated_on_the_batch() -> None:
    """What ``predict`` of a hybrid agent returns, a dict a game, is an action of the batch."""
    envs = make_sb3_env("PhotoRetouch-v0", n_envs=3, **SMALL)
    agent = ExposureAgent(
        env=envs, seed=0, device="cpu", policy_kwargs={"base_channels": 2, "features": 16, "hidden": 4}
    )
    player: Any = agent  # SB3 types actions as arrays
    rewards, lengths = evaluate_policy(player, envs, n_eval_episodes=6, return_episode_rewards=True)
    assert lengths == [5] * 6
    assert np.isfinite(rewards).all()


def test_the_rest_of_the_interface(rng: np.random.Generator) -> None:
    env = SB3VecEnv(3, render_mode="rgb_array", **SMALL)
    assert env.get_attr("game") == [env.base.game] * 3
    assert env.get_attr("photos", 1) == [builtin_photos()]
    assert env.has_attr("reward_model")
    assert not env.has_attr("score")
    assert env.env_is_wrapped(TimeLimit, [0, 2]) == [False, False]
    edit = Edit("exposure", (1.0,))
    (action,) = env.env_method("action_from_edit", edit, indices=0)
    assert env.env_method("edit_from_action", action)[2].filter == "exposure"
    new = AdversarialReward(builtin_photos().targets, image_size=16)
    env.set_attr("reward_model", new)
    assert env.get_attr("reward_model") == [new] * 3
    with pytest.raises(ValueError, match="all of them"):
        env.set_attr("reward_model", new, indices=[0, 1])

    photo = rng.random((16, 16, 3), dtype=np.float32)
    env.set_options([{}, {}, {"photo": photo}])
    observation = env.reset()
    assert isinstance(observation, dict)
    np.testing.assert_array_equal(observation["image"][2], photo)
    assert not np.array_equal(env.reset()["image"][2], photo)  # type: ignore[call-overload]  # once only
    env.set_options({"picture": photo})
    with pytest.raises(ValueError, match="picture"):
        env.reset()
    tiles = env.render()
    assert tiles is not None
    strip = env.get_images()[0]
    assert strip is not None
    assert tiles.shape == (2 * strip.shape[0], 2 * strip.shape[1], 3)
    env.close()


def test_seeding_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    env = SB3VecEnv(2, **SMALL)
    env.seed(None)
    first = env.reset()
    env.seed(None)
    assert not np.array_equal(first["image"], env.reset()["image"])  # type: ignore[call-overload]
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before)  # noqa: NPY002


def test_made_in_one_call() -> None:
    env = make_sb3_env("exposure_gym:PhotoRetouchDiscrete-v0", 3, reward="reference", seed=5, image_size=16)
    assert isinstance(env, VecMonitor)
    assert isinstance(env.action_space, gym.spaces.Discrete)
    again = make_sb3_env("PhotoRetouchDiscrete-v0", 3, reward="reference", seed=5, image_size=16)
    np.testing.assert_array_equal(env.reset()["image"], again.reset()["image"])  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="unknown environment 'CartPole-v1'"):
        make_sb3_env("CartPole-v1")
    with pytest.raises(ValueError, match="unknown form 'round'"):
        SB3VecEnv(2, "round")


# -- the adversarial reward --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preview", [False, True])
def test_the_critic_learns_beside_the_agent(preview: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 if preview else 16
    reward = AdversarialReward(builtin_photos().targets, image_size=16, critic_burst=1, critic_updates=1, batch_size=4)
    shown: list[torch.Tensor] = []
    real = reward.update

    def update(finished: torch.Tensor) -> Any:
        shown.append(finished)
        return real(finished)

    monkeypatch.setattr(reward, "update", update)
    env = make_sb3_env("PhotoRetouchBox-v0", 4, reward=reward, preview=preview, image_size=size, max_steps=2)
    agent = PPO("MultiInputPolicy", env, **tiny(n_steps=16, batch_size=32, n_epochs=1))
    agent.learn(64, callback=AdversarialCallback(edits=16, pool_size=6))
    assert reward.iteration == 4
    assert [len(batch) for batch in shown] == [6, 6, 6, 6]
    assert shown[0].shape[1:] == (3, size, size)
    assert all(batch.min() >= 0.0 and (batch.max() <= 1.0 or not preview) for batch in shown)


def test_the_callback_needs_its_reward() -> None:
    agent = PPO("MultiInputPolicy", make_sb3_env("PhotoRetouchBox-v0", 2, **SMALL), **tiny(n_steps=16, batch_size=32))
    with pytest.raises(ValueError, match="one AdversarialReward"):
        agent.learn(32, callback=AdversarialCallback())

"""The paper's convolutions as a features extractor: what it computes, and with whom it works."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.preprocessing import preprocess_obs

import exposure_gym
from exposure_gym.agents import PhotoExtractor
from exposure_gym.envs import PhotoRetouchEnv, SB3VecEnv
from exposure_gym.game import GameState
from exposure_gym.networks import with_planes

assert exposure_gym

SMALL = {"features_extractor_class": PhotoExtractor, "features_extractor_kwargs": {"base_channels": 2, "features": 32}}


def test_sees_what_the_published_networks_see() -> None:
    env = gym.make("PhotoRetouch-v0", reward="reference", image_size=16)
    base = env.unwrapped
    assert isinstance(base, PhotoRetouchEnv)
    torch.manual_seed(0)  # float32 rounds some weights' gradients past any limit that would still tell
    env.action_space.seed(0)
    extractor = PhotoExtractor(env.observation_space, base_channels=4)
    observation, _ = env.reset(seed=0)
    for _ in range(base.game.max_steps):
        observation, *_ = env.step(env.action_space.sample())
        batch = {key: torch.as_tensor(np.asarray(value))[None] for key, value in observation.items()}
        state = GameState(batch["image"].permute(0, 3, 1, 2), batch["filters_used"].float(), batch["step"])
        expected = extractor.encoder(with_planes(state.image, base.game.state_vector(state)))
        prepared = preprocess_obs(batch, env.observation_space)
        seen = extractor(prepared)
        torch.testing.assert_close(seen, expected, rtol=1e-5, atol=1e-6)  # it sums in another order
        weights = list(extractor.parameters())
        for ours, theirs in zip(
            torch.autograd.grad(seen.square().sum(), weights),
            torch.autograd.grad(expected.square().sum(), weights),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
    assert extractor.features_dim == expected.shape[1]


def test_published_size() -> None:
    env = gym.make("PhotoRetouch-v0", reward="reference")
    extractor = PhotoExtractor(env.observation_space)
    assert extractor.features_dim == 4096
    assert [layer.out_channels for layer in extractor.encoder.convolutions] == [32, 64, 128, 256]


@pytest.mark.parametrize(
    ("algorithm", "form", "preview", "options"),
    [
        (PPO, "box", False, {"n_steps": 4, "batch_size": 8, "n_epochs": 1}),
        (PPO, "discrete", True, {"n_steps": 4, "batch_size": 8, "n_epochs": 1}),
        (SAC, "box", False, {"learning_starts": 2, "batch_size": 4, "buffer_size": 64}),
        (DQN, "discrete", False, {"learning_starts": 2, "batch_size": 4, "buffer_size": 64}),
    ],
)
def test_algorithms_learn_with_it(algorithm: Any, form: str, preview: bool, options: dict[str, Any]) -> None:
    env = SB3VecEnv(2, form, preview, reward="reference", image_size=16)
    model = algorithm("MultiInputPolicy", env, policy_kwargs=dict(SMALL), seed=0, device="cpu", **options)
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    model.learn(8)
    moved = [name for name, value in model.policy.state_dict().items() if not torch.equal(value, before[name])]
    assert any("encoder.convolutions.0" in name for name in moved)


def test_other_observations_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"keys image, filters_used, step, not Dict.*") as error:
        PhotoExtractor(spaces.Dict(image=spaces.Box(0.0, 1.0, (16, 16, 3))))
    assert "\n" not in str(error.value)
    oblong = {"image": spaces.Box(0.0, 1.0, (16, 8, 3)), "filters_used": spaces.MultiBinary(8)}
    with pytest.raises(ValueError, match=r"square pictures of three channels, not \(16, 8, 3\)"):
        PhotoExtractor(spaces.Dict({**oblong, "step": spaces.Discrete(6)}))


def test_the_package_imports_agents_when_asked() -> None:
    code = "import sys, exposure_gym.agents as a; assert 'torch' not in sys.modules; assert 'PhotoExtractor' in dir(a)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import exposure_gym.agents as agents

    with pytest.raises(AttributeError, match="no attribute 'Nobody'"):
        agents.Nobody  # noqa: B018

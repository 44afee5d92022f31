"""The rewards: what each measures, and the critic that version 0 is defined with."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from exposure_gym.critic import Critic, critic_step, save_critic
from exposure_gym.data import Photos, PhotoSet, builtin_photos
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.rewards import (
    CRITIC,
    CRITIC_HASH,
    WEIGHTS,
    AdversarialReward,
    CriticReward,
    ReferenceReward,
    make_reward,
    record_critic,
    shipped_critic,
)


def small_critic(seed: int = 0) -> Critic:
    """16 pixels, and random weights that are the same every time."""
    critic = Critic(16, base_channels=4, hidden=8)
    generator = torch.Generator().manual_seed(seed)
    for parameter in critic.parameters():
        parameter.data.normal_(0.0, 0.1, generator=generator)
    return critic


def pictures(count: int, rng: np.random.Generator, low: float = 0.0, high: float = 1.2) -> torch.Tensor:
    return torch.from_numpy(rng.uniform(low, high, (count, 3, 16, 16)).astype(np.float32))


# -- critic ------------------------------------------------------------------------------------------------------------


def test_the_critic_pays_for_the_increase_of_its_score(rng: np.random.Generator) -> None:
    env = gym.make("PhotoRetouch-v0")
    env.action_space.seed(0)
    before, _ = env.reset(seed=0)
    critic = shipped_critic()
    total = 0.0
    for _ in range(5):
        after, _, _, _, info = env.step(env.action_space.sample())
        total += info["rewards"]["critic"]
    first, last = (torch.from_numpy(seen["image"].transpose(2, 0, 1).copy())[None] for seen in (before, after))
    with torch.no_grad():
        expected = 0.05 * (critic(last) - critic(first)).item()
    assert total == pytest.approx(expected, abs=1e-5)


def test_pictures_are_resized_for_the_critic(rng: np.random.Generator) -> None:
    reward = CriticReward(small_critic(), weight=2.0, name="mine")
    image = pictures(3, rng)
    large = image.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    torch.testing.assert_close(reward.potential(large), reward.potential(image))
    torch.testing.assert_close(reward.potential(image), 2.0 * reward.critic(image).detach())


def test_rounded_convolutions_change_rewards_a_little() -> None:
    def rewards(reward: CriticReward) -> np.ndarray[Any, Any]:
        envs = gym.make_vec("PhotoRetouchBox-v0", 8, autoreset_mode="SameStep", reward=reward)
        envs.reset(seed=0)
        envs.action_space.seed(0)
        return np.array([envs.step(envs.action_space.sample())[4]["rewards"]["critic"] for _ in range(4)])

    exact, rounded = rewards(CriticReward()), rewards(CriticReward(precision=torch.bfloat16))
    assert exact.dtype == rounded.dtype
    assert 0.0 < np.abs(rounded - exact).mean() < 0.01 < 0.1 * np.abs(exact).mean()
    # Not the score itself: bfloat16 would leave it two digits, 0.25 apart where it is above 32.
    assert len(np.unique(rounded)) == rounded.size


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"torch.float64 must be torch.float32 or torch.bfloat16"):
        CriticReward(precision=torch.float64)


def test_the_recorded_hash_is_the_shipped_critics() -> None:
    digest, name = CRITIC_HASH.read_text().split()
    assert digest == hashlib.sha256(CRITIC.read_bytes()).hexdigest(), "run exposure_gym.rewards.record_critic()"
    assert name == CRITIC.name


def test_version_0_does_not_change_with_the_shipped_agent() -> None:
    assert CRITIC.parent != WEIGHTS
    assert CRITIC_HASH.parent == CRITIC.parent
    recorded = "6fb2a4ca0c61bbaeee38c5753b4bf71da5fe4944e712d9125f2ba314dcbbd514"
    assert CRITIC_HASH.read_text() == f"{recorded}  {CRITIC.name}\n", "another critic needs another version"


def test_recording_a_critic(tmp_path: Path) -> None:
    save_critic(small_critic(), tmp_path / CRITIC.name)
    digest = record_critic(tmp_path)
    assert (tmp_path / CRITIC_HASH.name).read_text() == f"{digest}  {CRITIC.name}\n"
    assert digest == hashlib.sha256((tmp_path / CRITIC.name).read_bytes()).hexdigest()


def test_other_weights_under_v0_warn() -> None:
    gym.make("PhotoRetouch-v0", reward=CriticReward(copy.deepcopy(shipped_critic())))  # the same weights
    gym.make("PhotoRetouch-v0", reward=CriticReward(small_critic(), name="mine"))
    with pytest.warns(UserWarning, match=r"not the critic that v0 is defined with \(it has other weights") as caught:
        PhotoRetouchEnv(reward=CriticReward(small_critic()))
    assert "\n" not in str(caught[0].message)
    with pytest.warns(UserWarning, match="v0"):
        gym.make_vec("PhotoRetouchBox-v0", num_envs=2, reward=CriticReward(small_critic()))


def test_another_file_under_v0_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "critic.sha256"
    other.write_text("0" * 64 + "  critic.safetensors\n")
    monkeypatch.setattr("exposure_gym.rewards.CRITIC_HASH", other)
    with pytest.warns(UserWarning, match="hash is recorded"):
        gym.make("PhotoRetouch-v0")


# -- reference ---------------------------------------------------------------------------------------------------------


def test_reference_clips_before_it_compares() -> None:
    white, over = torch.ones(1, 3, 4, 4), torch.full((1, 3, 4, 4), 3.0)
    grey = torch.full((1, 3, 4, 4), 0.5)
    assert float(ReferenceReward().potential(over, white)) == pytest.approx(0.0, abs=1e-4)
    assert float(ReferenceReward().potential(grey, over)) == pytest.approx(53.389 - 100.0, abs=1e-3)


def test_reference_is_the_mean_colour_difference(rng: np.random.Generator) -> None:
    black, white = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    reward = ReferenceReward()
    torch.testing.assert_close(reward.potential(black, white), torch.full((2,), -100.0))
    torch.testing.assert_close(ReferenceReward(0.1).potential(black, white), torch.full((2,), -10.0))
    image = pictures(2, rng, 0.1, 0.9).double().requires_grad_()
    torch.testing.assert_close(reward.potential(image, image).detach(), torch.zeros(2).double(), atol=1e-5, rtol=0.0)
    (gradient,) = torch.autograd.grad(reward.potential(image, image.detach()).sum(), image)
    assert gradient.isfinite().all()


def test_reference_pays_for_coming_nearer_to_the_target() -> None:
    photos = builtin_photos()
    env = gym.make("PhotoRetouch-v0", reward="reference", image_size=80)  # the whole crop: its target is known
    env.action_space.seed(3)
    before, info = env.reset(seed=3)
    total = 0.0
    for _ in range(5):
        after, _, _, _, told = env.step(env.action_space.sample())
        total += told["rewards"]["reference"]
    assert set(told["rewards"]) == {"reference", "overexposure", "reuse"}
    distances = []
    for index in (i for i, name in enumerate(photos.inputs.names) if name == info["photo"]):
        for flip in (1, -1):
            if np.array_equal(photos.inputs.crops[index].transpose(1, 2, 0)[:, ::flip], before["image"]):
                target = rgb2lab(photos.targets.crops[index].transpose(1, 2, 0)[:, ::flip])
                difference = [rgb2lab(seen["image"].clip(0, 1)) - target for seen in (before, after)]
                distances.append([np.linalg.norm(each, axis=2).mean() for each in difference])
    assert total == pytest.approx(distances[0][0] - distances[0][1], abs=1e-2)


def test_reference_needs_pairs() -> None:
    crops = np.zeros((2, 3, 16, 16), np.float32)
    photos = Photos(PhotoSet(crops, "linear", ["a", "b"]), PhotoSet(crops, "display", ["a", "b"]))
    with pytest.raises(ValueError, match=r"^[^\n]*not paired[^\n]*paired=True[^\n]*$"):
        gym.make("PhotoRetouch-v0", photos=photos, reward="reference", image_size=16)
    env = gym.make("PhotoRetouch-v0", reward="reference", image_size=16)
    with pytest.raises(ValueError, match="a given photo has not"):
        env.reset(options={"photo": np.zeros((16, 16, 3), np.float32)})


# -- adversarial -------------------------------------------------------------------------------------------------------


def adversarial(**options: Any) -> AdversarialReward:
    targets = PhotoSet(
        np.random.default_rng(0).uniform(0.4, 0.9, (8, 3, 20, 20)).astype(np.float32), "display", list("abcdefgh")
    )
    return AdversarialReward(targets, small_critic(), **{"batch_size": 8} | options)


def test_adversarial_learns_to_tell_pictures_apart(rng: np.random.Generator) -> None:
    reward = adversarial(learning_rate=1e-3)
    dark = pictures(5, rng, 0.0, 0.3)
    first = reward.update(dark).emd
    for _ in range(3):
        last = reward.update(dark).emd
    assert last > first
    assert last > 0
    bright = torch.from_numpy(reward.targets.sample(8, rng, 16))
    assert reward.potential(bright).mean() > reward.potential(dark).mean()


def test_adversarial_updates_as_often_as_published(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[float] = []

    def counting(critic: Any, optimizer: Any, *rest: Any) -> Any:
        counts.append(optimizer.param_groups[0]["lr"])
        return critic_step(critic, optimizer, *rest)

    monkeypatch.setattr("exposure_gym.rewards.critic_step", counting)
    reward = adversarial(batch_size=2, critic_burst=7, burst_iterations=2, burst_every=5, iterations=6)
    updates, rates = [], []
    for _ in range(8):
        counts.clear()
        reward.update(pictures(3, rng))
        updates.append(len(counts))
        rates.append(counts[0])
    assert updates == [7, 7, 5, 5, 5, 7, 5, 5]
    np.testing.assert_allclose(rates[:7], 5e-5 * 10.0 ** (-3 * np.arange(7) / 6))
    assert rates[7] == rates[6]
    published = AdversarialReward(reward.targets, small_critic())
    assert (published.critic_updates, published.critic_burst, published.burst_iterations) == (5, 100, 10)
    assert (published.burst_every, published.batch_size, published.iterations) == (500, 64, 20_000)


def test_adversarial_is_a_function_of_its_seed(rng: np.random.Generator) -> None:
    images = pictures(4, rng)
    twins = [adversarial(critic_burst=3, seed=seed) for seed in (1, 1, 2)]
    for twin in twins:
        twin.update(images)
    a, b, c = (twin.potential(images) for twin in twins)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    copied = copy.deepcopy(twins[0])
    losses = [reward.update(images).loss for reward in (twins[0], copied, twins[1])]
    assert losses[0] == losses[1] == losses[2]
    assert not torch.equal(twins[0].potential(images), a)


def test_both_potentials_are_those_of_the_critic_as_it_is(rng: np.random.Generator) -> None:
    reward = adversarial(learning_rate=1e-2)
    env = gym.make("PhotoRetouch-v0", reward=reward, image_size=16)
    before, _ = env.reset(seed=0)
    reward.update(pictures(4, rng))
    after, _, _, _, info = env.step({"filter": 5, "parameters": np.full(39, 0.5)})
    first, last = (torch.from_numpy(seen["image"].transpose(2, 0, 1).copy())[None] for seen in (before, after))
    gain = (reward.potential(last) - reward.potential(first)).item()
    assert info["rewards"]["adversarial"] == pytest.approx(gain, abs=1e-6)


def test_adversarial_leaves_the_given_critic_alone(rng: np.random.Generator) -> None:
    critic = small_critic()
    before = copy.deepcopy(critic.state_dict())
    AdversarialReward(adversarial().targets, critic, batch_size=2).update(pictures(2, rng))
    assert all(torch.equal(before[key], value) for key, value in critic.state_dict().items())
    with pytest.raises(ValueError, match="at least one finished picture"):
        adversarial().update(torch.zeros(0, 3, 16, 16))


def test_no_global_random_state_is_touched(rng: np.random.Generator) -> None:
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    shipped_critic.cache_clear()
    shipped_critic()
    photos = builtin_photos()
    fresh = AdversarialReward(photos.targets, image_size=16, critic_burst=1, batch_size=2)
    fresh.update(pictures(2, rng))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[1])  # noqa: NPY002


def test_rewards_by_name() -> None:
    photos = builtin_photos()
    critic = make_reward("critic", photos)
    assert isinstance(critic, CriticReward)
    assert critic.critic is shipped_critic()
    learning = make_reward("adversarial", photos, 32)
    assert isinstance(learning, AdversarialReward)
    assert learning.critic.image_size == 32
    assert learning.targets is photos.targets
    assert [make_reward(name, photos).name for name in ("critic", "adversarial", "reference")] == [
        "critic",
        "adversarial",
        "reference",
    ]
    with pytest.raises(ValueError, match="unknown reward 'likes'"):
        make_reward("likes", photos)

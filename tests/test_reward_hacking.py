"""Attacks on a frozen reward, and the training of a critic that withstands them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import critic_battery
import ppo_single_file
import reward_hacking
import train_critic

from exposure_gym.attack import gradient_attack, neutral_parameters, random_plan
from exposure_gym.critic import Critic
from exposure_gym.data import Photos, builtin_photos
from exposure_gym.evaluation import episode_reward, play
from exposure_gym.game import RetouchGame
from exposure_gym.networks import initialise
from exposure_gym.rewards import CriticReward, ReferenceReward, shipped_critic


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos() -> Photos:
    return builtin_photos(scenes=8)


@pytest.fixture(scope="module")
def small() -> Critic:
    with torch.random.fork_rng():
        critic = Critic(16, base_channels=4, hidden=16)
    initialise(critic, noise())
    return critic.eval().requires_grad_(False)


# -- plans -------------------------------------------------------------------------------------------------------------


def test_neutral_plan_changes_nothing() -> None:
    game = RetouchGame()
    image = 0.05 + 0.9 * torch.rand(6, 3, 8, 8, generator=noise())  # no black: gamma lifts it to 0.001
    plan = random_plan(game, 6, noise(1), torch.zeros(6))
    assert torch.equal(plan.parameters[0, 0], neutral_parameters(game))
    for after in play(game, image, plan.player()).images:
        torch.testing.assert_close(after, image, rtol=0, atol=2e-5)


def test_random_plan_uses_no_filter_twice_and_stays_in_range() -> None:
    game = RetouchGame()
    plan = random_plan(game, 200, noise())
    assert all(len(set(row)) == game.max_steps for row in plan.filter_index.tolist())
    assert set(plan.filter_index.flatten().tolist()) == set(range(8))
    assert plan.parameters.abs().max() <= 1.0
    assert torch.equal(plan.parameters, random_plan(game, 200, noise()).parameters)
    long = random_plan(RetouchGame(max_steps=10), 3, noise())
    assert long.filter_index.shape == (3, 10)


# -- the attack --------------------------------------------------------------------------------------------------------


def test_attack_raises_the_reward_and_never_lowers_it(small: Critic) -> None:
    game, reward = RetouchGame(), CriticReward(small, name="small")
    image = torch.rand(8, 3, 16, 16, generator=noise())

    def reached(steps: int) -> torch.Tensor:
        plan = gradient_attack(game, image, lambda x: 0.05 * small(x), noise(1), steps=steps)
        assert plan.parameters.abs().max() <= 1.0
        assert not plan.parameters.requires_grad
        return episode_reward(reward, play(game, image, plan.player()))

    begin, few, many = reached(0), reached(5), reached(25)
    assert (few >= begin - 1e-5).all()
    assert (many >= few - 1e-5).all()
    assert (many > begin + 1e-3).all()
    assert torch.equal(many, reached(25))


def test_attack_finds_the_way_to_a_known_goal() -> None:
    """A reward that cannot be hacked leads to the goal: an edit of the picture is found again, nearly."""
    game, image = RetouchGame(), torch.rand(2, 3, 16, 16, generator=noise()) * 0.5
    goal = (image * 2.0) ** 0.5
    reward = ReferenceReward()
    attack = gradient_attack(game, image, lambda x: reward.potential(x, goal), noise(2), steps=150)
    after = play(game, image, attack.player()).images[-1]
    assert (reward.potential(after, goal) > 0.3 * reward.potential(image, goal)).all()


# -- the battery -------------------------------------------------------------------------------------------------------


def test_every_disturbance_is_visible_and_undone_by_a_perfect_judge(photos: Photos) -> None:
    held_out = critic_battery.HeldOut(photos)
    targets = held_out.targets

    class Perfect(CriticReward):
        def potential(self, image: torch.Tensor) -> torch.Tensor:
            return -(image - targets).square().mean(dim=(1, 2, 3)).sqrt()

    for name, (gain, share) in held_out.disturbed(Perfect(shipped_critic())).items():
        assert gain < -0.01, name
        assert share == 0.0, name


def test_hacks_are_what_they_are_called(photos: Photos) -> None:
    made: list[torch.Tensor] = []

    class Seen(CriticReward):
        def potential(self, image: torch.Tensor) -> torch.Tensor:
            made.append(image)
            return image.mean(dim=(1, 2, 3))

    held_out = critic_battery.HeldOut(photos)
    gains = held_out.hacks(Seen(shipped_critic()))
    fog, before, cold, _ = made
    assert torch.equal(before, held_out.inputs)
    assert gains["fog"] == pytest.approx(float(fog.mean() - before.mean()), abs=1e-5)
    assert critic_battery.statistics(fog)[:, 1].mean() < 0.15
    red, _, blue = cold.mean(dim=(0, 2, 3)).tolist()
    assert blue - red > 0.2


def test_rank_correlation_is_spearmans() -> None:
    # 1 - 6 sum d^2 / (n (n^2 - 1)) with the differences of ranks 2, 1, 1, 0
    assert critic_battery.rank_correlation([10, 20, 30, 40], [30, 10, 20, 40]) == pytest.approx(1 - 6 * 6 / (4 * 15))
    a = np.random.default_rng(0).normal(size=40)
    assert critic_battery.rank_correlation(a, np.exp(a)) == pytest.approx(1.0)


# -- the commands ------------------------------------------------------------------------------------------------------


def run(module: object, monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *options])
    module.main()  # type: ignore[attr-defined]


def test_same_seed_gives_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(reward_hacking, monkeypatch, "--quick", "--label", "one", "--out", str(tmp_path))
    assert "gradient attack" in capsys.readouterr().out
    first = tmp_path / "reward_hacking_one.json"
    figure = tmp_path / "figure.png"
    run(
        reward_hacking, monkeypatch, "--quick", "--label", "two", "--out", str(tmp_path),
        "--beside", str(first), "--figure", str(figure),
    )  # fmt: skip
    one, two = (json.loads((tmp_path / f"reward_hacking_{label}.json").read_text()) for label in ("one", "two"))
    assert one["rows"] == two["rows"]
    assert {row["name"] for row in one["rows"]} == {"random", "gradient attack", "ppo", "menu", "sac"}
    by_name = {row["name"]: row for row in one["rows"]}
    assert by_name["gradient attack"]["reward"] > by_name["random"]["reward"]
    for name in ("ppo", "menu"):
        assert [row["steps"] for row in one["rows"] if row["name"] == name] == [0, 160, 320]
    assert all(0 < row["histogram_intersection"] < 100 for row in one["rows"])
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in first.read_text()


def test_half_of_the_folders_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="name all four folders"):
        run(reward_hacking, monkeypatch, "--inputs", str(tmp_path))


def test_trained_critic_ranks_disturbed_below_real(photos: Photos) -> None:
    negatives = train_critic.Negatives([(photos, 1.0)])

    def margins(updates: int) -> dict[str, float]:
        critic = train_critic.train(
            negatives, train_critic.KINDS, updates=updates, batch_size=8, learning_rate=3e-4, attack_every=10,
            attack_steps=1,
        )  # fmt: skip
        train_critic.calibrate(critic, photos)
        finished, before = (critic(critic_battery.pictures(part)).mean() for part in (photos.targets, photos.inputs))
        assert float(finished) == pytest.approx(0.0, abs=1e-2)
        assert float(before) == pytest.approx(-20.0, abs=1e-2)
        found = {}
        for kind in ("random", "disturbed"):
            worse, target = negatives.batch({kind: 1}, 100)
            found[kind] = float((critic(target) - critic(worse)).mean())
        return found

    trained = margins(25)
    assert trained["random"] > trained["disturbed"] > 0


def test_extremes_are_flat_or_burnt_or_grey(photos: Photos) -> None:
    images, targets = train_critic.Negatives([(photos, 1.0)]).batch({"extremes": 1}, 64)
    made, finished = critic_battery.statistics(images), critic_battery.statistics(targets)
    assert images.shape == targets.shape == (64, 3, 64, 64)
    assert (made[:, 1] < 0.5 * finished[:, 1]).mean() > 0.2  # contrast
    assert (made[:, 2] < 0.5 * finished[:, 2]).mean() > 0.2  # saturation
    assert (made[:, 2] > 1.5 * finished[:, 2]).mean() > 0.05


def test_what_ppo_makes_of_the_critic_of_the_time_comes_back_as_negatives(photos: Photos, small: Critic) -> None:
    negatives = train_critic.Negatives([(photos, 1.0)])
    said: list[str] = []
    train_critic.train(
        negatives, {"players": 1}, updates=2, rounds=2, player_steps=1280, batch_size=4, learning_rate=1e-4,
        attack_every=10, begin=shipped_critic(), say=said.append,
    )  # fmt: skip
    assert [line.partition(": PPO")[0] for line in said] == ["0", "1"]
    assert negatives.played is not None
    assert [len(part) for part in negatives.played] == [2 * 2 * 3 * 128] * 2  # rounds, with noise or not, edits
    assert not shipped_critic().score.weight.requires_grad


def test_likeliest_edits_are_those_of_the_examination() -> None:
    """A policy's player makes of the bare game what the environment makes of the same actions."""
    game = RetouchGame()
    agent = ppo_single_file.Agent(game, 64, 0.5, noise())
    image = 0.3 * torch.rand(4, 3, 64, 64, generator=noise(1))
    index, parameters = critic_battery.policy_player(agent)(game.start(image))
    seen = ppo_single_file.Observation(image.permute(0, 2, 3, 1), torch.zeros(4, 8), torch.zeros(4, dtype=torch.int64))
    choices, mean, _ = agent(seen)
    assert torch.equal(index, choices.argmax(dim=1))
    assert torch.equal(parameters, mean.clamp(-1, 1))
    drawn = critic_battery.policy_player(agent, noise())(game.start(image))[1]
    assert drawn.abs().max() <= 1.0
    assert 0.3 < float((drawn - parameters).std()) < 0.6


def test_attacked_pictures_come_back_as_negatives(photos: Photos, small: Critic) -> None:
    negatives = train_critic.Negatives([(photos, 1.0)])
    assert negatives.attacked is None
    negatives.attack(shipped_critic(), 4, 1)
    assert negatives.attacked is not None
    images, targets = negatives.batch({"attacks": 1}, 6)
    assert images.shape == targets.shape == (6, 3, 64, 64)
    assert images.max() <= 2.0
    kept = {tuple(image.flatten()[:20].tolist()) for image in negatives.attacked[0].clamp(max=1.0)}
    assert all(tuple(image.flatten()[:20].tolist()) in kept for image in images.clamp(max=1.0))
    assert not shipped_critic().score.weight.requires_grad

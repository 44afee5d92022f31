"""Attacks on a frozen reward, and the training of a critic that withstands them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import critic_battery
import ppo_single_file
import reward_hacking
import train_critic
from critic_versions import VersionMaker, Versions, visible_distance

from exposure_gym.attack import gradient_attack, neutral_parameters, random_plan
from exposure_gym.color import luminance
from exposure_gym.critic import Critic, load_critic
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


def test_photographs_to_choose_on_are_kept_from_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (40, 8, 8, 3)).astype(np.uint8)
    for name in critic_battery.FOLDERS:
        (tmp_path / name).mkdir()
        for number, picture in enumerate(pixels):
            cv2.imwrite(str(tmp_path / name / f"{number:02}.png"), picture)
    parser = argparse.ArgumentParser()
    critic_battery.add_photo_options(parser)
    folders = [
        part for name in critic_battery.FOLDERS for part in (f"--{name.replace('_', '-')}", str(tmp_path / name))
    ]
    train, held = critic_battery.read_photos(parser.parse_args([*folders, "--hold-back"]))
    for kept, back in ((train.inputs, held.inputs), (train.targets, held.targets)):
        assert len(set(back.names)) == 16
        assert set(kept.names).isdisjoint(back.names)
        assert len({*kept.names, *back.names}) == 40
    assert train.inputs.domain == "linear"
    assert train.targets.domain == "display"
    for wrong in (["--hold-back"], [*folders, "--paired", "--hold-back"]):
        with pytest.raises(SystemExit, match="needs all four folders, and knows no pairs"):
            critic_battery.read_photos(parser.parse_args(wrong))


# -- versions of finished photographs ----------------------------------------------------------------------------------


@pytest.fixture
def maker(photos: Photos) -> VersionMaker:
    return VersionMaker([(photos, 1.0)])


def test_visible_distance_grows_with_what_is_done_to_a_picture(maker: VersionMaker) -> None:
    finished = maker.finished(30)
    grey = finished.mean(dim=(1, 2, 3), keepdim=True)
    worse: dict[str, Callable[[float], torch.Tensor]] = {
        "flatter": lambda x: finished.lerp(grey.expand_as(finished), x),
        "paler": lambda x: finished.lerp(luminance(finished).expand_as(finished), x),
        "darker": lambda x: finished * (1.0 - x),
        "yellower": lambda x: finished * torch.tensor([1.0, 1.0, 1.0 - x])[:, None, None],
    }
    assert (visible_distance(finished, finished) == 0.0).all()
    for name, version in worse.items():
        distances = [float(visible_distance(version(x), finished).mean()) for x in (0.1, 0.3, 0.6, 0.9)]
        assert distances == sorted(distances), name
        assert distances[0] > 0.02, name
        assert distances[-1] < 1.0, name
    # A fog of the right brightness is as far away as the linear picture: no player is to be paid for it.
    fog, linear = finished.lerp(grey.expand_as(finished), 0.9), critic_battery.darkened(finished)
    assert visible_distance(fog, finished).mean() > 0.9 * visible_distance(linear, finished).mean()


def test_a_cast_does_not_bring_a_pale_picture_nearer(maker: VersionMaker) -> None:
    """It raises the saturation, but a cast is no colourfulness."""
    finished = maker.finished(30)
    grey = finished.mean(dim=(1, 2, 3), keepdim=True)
    finished = (finished * grey / finished.mean(dim=(2, 3), keepdim=True)).clamp(0.0, 1.0)  # no cast of its own
    pale = finished.lerp(luminance(finished).expand_as(finished), 0.6).lerp(grey.expand_as(finished), 0.5)
    for tint in ([1.25, 1.0, 0.65], [0.8, 1.0, 1.35]):
        cast = pale * torch.tensor(tint)[:, None, None]
        assert critic_battery.statistics(cast)[:, 2].mean() > 2.0 * critic_battery.statistics(pale)[:, 2].mean()
        assert visible_distance(cast, finished).mean() > 1.02 * visible_distance(pale, finished).mean()


def test_each_kind_of_version_is_what_it_is_called(maker: VersionMaker) -> None:
    finished = maker.finished(40)
    made = {kind: make(finished) for kind, make in maker.kinds.items()}
    for kind, images in made.items():
        assert images.shape == finished.shape, kind
        assert images.isfinite().all(), kind
    light, contrast, saturation = (
        {kind: critic_battery.statistics(images)[:, i] for kind, images in (made | {"finished": finished}).items()}
        for i in range(3)
    )
    assert (contrast["flat"] <= contrast["finished"] + 1e-6).all()
    assert contrast["flat"].mean() < 0.7 * contrast["finished"].mean()
    assert (saturation["pale"] <= saturation["finished"] + 1e-6).all()
    assert saturation["garish"].mean() > 1.2 * saturation["finished"].mean()
    np.testing.assert_allclose(light["pale"], light["finished"], atol=1e-5)
    assert np.abs(light["exposed"] / light["finished"] - 1.0).mean() > 0.3
    tint = made["cast"].mean(dim=(2, 3)) / finished.mean(dim=(2, 3))
    assert (tint.amax(dim=1) / tint.amin(dim=1)).median() > 1.3
    assert light["played"].mean() < 0.7 * light["finished"].mean()
    assert maker.start(finished).mean() < 0.4 * finished.mean()


def test_a_batch_has_every_kind_of_each_photograph_and_says_how_far_it_is(maker: VersionMaker) -> None:
    versions = maker.batch(3)
    kinds = 1 + len(maker.kinds)
    assert versions.images.shape == (3 * kinds, 3, 64, 64)
    assert versions.group.tolist() == [0, 1, 2] * kinds
    assert (versions.distance[:3] == 0.0).all()
    assert ((versions.distance >= 0.0) & (versions.distance < 1.0)).all()
    assert versions.images.max() <= 2.0
    flat = maker.batch(5, ["flat"])
    torch.testing.assert_close(flat.distance[5:], visible_distance(flat.images[5:], flat.images[:5]))


def test_same_seed_makes_same_versions(photos: Photos) -> None:
    first, second, other = (VersionMaker([(photos, 1.0)], seed).batch(2) for seed in (0, 0, 1))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.distance, second.distance)
    assert not torch.equal(first.images, other.images)


def test_attacked_pictures_come_back_as_versions(maker: VersionMaker) -> None:
    reward = CriticReward(shipped_critic(), name="attacked")
    maker.attack(lambda x: 0.05 * reward.critic(x), 4, 1)
    assert maker.attacked is not None
    images, finished = maker.attacked
    assert images.shape == finished.shape == (8, 3, 64, 64)
    versions = maker.batch(3)
    attacked = versions.images[-6:-3]
    assert versions.group[-6:].tolist() == [3, 4, 5] * 2
    kept = {tuple(image.flatten()[:20].clamp(max=1.0).tolist()) for image in images}
    assert all(tuple(image.flatten()[:20].clamp(max=1.0).tolist()) in kept for image in attacked)
    assert (versions.distance[-6:-3] > 0.0).all()
    assert (versions.distance[-3:] == 0.0).all()


def test_version_loss_wants_distances_between_versions_and_nothing_else() -> None:
    versions = Versions(torch.zeros(5, 3, 1, 1), torch.tensor([0.0, 0.5, 0.2, 0.0, 0.4]), torch.tensor([0, 0, 0, 1, 1]))
    level = torch.tensor([7.0, -3.0])[versions.group]
    right = level - train_critic.SCALE * versions.distance
    assert float(train_critic.version_loss(right, versions)) == pytest.approx(0.0, abs=1e-10)
    for row in range(5):
        wrong = right.clone()
        wrong[row] += 1.0
        assert train_critic.version_loss(wrong, versions) > 0.01


# -- training ----------------------------------------------------------------------------------------------------------


def test_critic_learns_which_version_is_nearer(photos: Photos) -> None:
    """Of other photographs than it saw, and from no weights."""
    other = VersionMaker([(builtin_photos(scenes=8, split="test"), 1.0)], seed=1).batch(20)
    finished, worse = other.images[:20].repeat(len(other.images) // 20, 1, 1, 1)[20:], other.images[20:]

    def trained(updates: int) -> Critic:
        settings = train_critic.Settings(
            updates=updates, player_steps=0, photographs=4, attack_every=20, attack_steps=1
        )
        critic = train_critic.train(photos, VersionMaker([(photos, 1.0)]), settings)
        train_critic.calibrate(critic, photos)
        return critic

    def right(critic: Critic) -> float:
        far = other.distance[20:] > 0.2
        return float((critic(finished) > critic(worse))[far].float().mean())

    critic = trained(25)
    assert right(critic) > 0.75
    assert right(critic) > right(trained(1)) + 0.1
    ready, before = (critic(critic_battery.pictures(part)).mean() for part in (photos.targets, photos.inputs))
    assert float(ready) == pytest.approx(0.0, abs=1e-2)
    assert float(before) == pytest.approx(-20.0, abs=1e-2)


def test_what_ppo_makes_of_the_critic_of_the_time_comes_back(photos: Photos) -> None:
    maker = VersionMaker([(photos, 1.0)])
    said: list[str] = []
    settings = train_critic.Settings(updates=3, rounds=3, player_steps=640, photographs=2, attack_every=10)
    train_critic.train(photos, maker, settings, say=said.append)
    assert [line.partition(": PPO")[0] for line in said] == ["1", "2"]
    assert len(maker.policies) == 2
    weights = [policy.mean.weight for policy in maker.policies]
    assert not torch.equal(*weights)
    assert not any(weight.requires_grad for weight in weights)
    images = maker.kinds["players"](maker.finished(6))
    assert images.shape == (6, 3, 64, 64)


def test_train_command_gives_the_same_critic_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    critics = []
    for name in ("one", "two"):
        file = tmp_path / f"{name}.safetensors"
        run(
            train_critic, monkeypatch, "--updates", "2", "--player-steps", "0", "--photographs", "2",
            "--attack-every", "1", "--attack-steps", "1", "-o", str(file),
        )  # fmt: skip
        critics.append(load_critic(file).state_dict())
    assert all(torch.equal(critics[0][key], critics[1][key]) for key in critics[0])

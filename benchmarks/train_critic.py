"""Trains a critic that is fit to be a frozen reward: it knows how much worse a picture is than it could be.

A critic that was trained beside an agent has only seen that agent's pictures, and says anything about others. Here it
learns from finished photographs beside worse versions of themselves (critic_versions.py): by as much as a version looks
worse, its score is to be lower. So a flat photograph, which is an ordinary one until it is compared with itself, costs
what it should, and every kind of version weighs the same, however many pictures it has.

It does so in rounds, between which PPO goes on learning against the critic of the time by the rules of version 0, and
with attacks that follow the critic's own gradient: what these find becomes a kind of version like others.

    python benchmarks/train_critic.py -o critic.safetensors
    python benchmarks/critic_battery.py critic.safetensors
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ppo_single_file
import torch
from critic_battery import add_photo_options, pictures, read_photos
from critic_versions import VersionMaker, Versions
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from exposure_gym.critic import Critic, load_critic, save_critic
from exposure_gym.data import Photos, builtin_photos
from exposure_gym.networks import initialise
from exposure_gym.rewards import CriticReward

WEIGHT = 0.05
"""Reward of a unit of the critic's score."""
SCALE = 15.0
"""Units of the score in which a :func:`critic_versions.visible_distance` of 1 is learned."""


@dataclass(frozen=True)
class Settings:
    """How long a critic learns, and from what."""

    updates: int = 900
    """Of the critic, after all rounds."""
    rounds: int = 5
    """Parts of the updates, with PPO between them."""
    player_steps: int = 19_200
    """Edits that PPO goes on to learn from in each of them."""
    photographs: int = 10
    """Finished ones in an update; each comes with a version of every kind."""
    learning_rate: float = 1e-3
    """Of Adam, at the start."""
    attack_every: int = 10
    """Updates between two attacks."""
    attack_steps: int = 20
    """Of the gradient attack."""
    seed: int = 0
    """Of everything."""


def learn_to_play(
    agent: ppo_single_file.Agent | None, critic: Critic, photos: Photos, steps: int, seed: int
) -> tuple[ppo_single_file.Agent, float]:
    """PPO that went on learning against the critic of the time, and its last reward in training.

    :param agent: so far, which is left as it is; ``None`` to begin.
    """
    judge = copy.deepcopy(critic).eval().requires_grad_(False)
    calibrate(judge, photos)
    log: list[float] = []
    learned = ppo_single_file.train(
        ppo_single_file.Settings(total_steps=steps, num_steps=10, seed=seed),
        lambda _, measured: log.append(measured.get("episode/reward", 0.0)),
        photos,
        CriticReward(judge, WEIGHT, name="critic of the time"),
        lambda _: {},
        None if agent is None else copy.deepcopy(agent).requires_grad_(True),
    )
    return learned.eval().requires_grad_(False), log[-1]


def version_loss(scores: Tensor, versions: Versions) -> Tensor:
    """How far scores are from falling by :data:`SCALE` times the visible distance, among versions of a photograph.

    A photograph's own level is free: only differences between two states of it are ever rewards.
    """
    excess = scores + SCALE * versions.distance
    groups = int(versions.group.max()) + 1
    sums = scores.new_zeros(groups).index_add(0, versions.group, excess)
    level = sums / torch.bincount(versions.group, minlength=groups)
    return smooth_l1_loss(excess, level[versions.group], beta=2.0)


def train(
    photos: Photos,
    maker: VersionMaker,
    settings: Settings,
    begin: Critic | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> Critic:
    """A critic for these photographs, from the weights of ``begin`` or from none.

    :param photos: that PPO plays on. :param maker: of versions.
    """
    with torch.random.fork_rng(devices=[]):
        critic = Critic()
    generator = torch.Generator().manual_seed(settings.seed)
    initialise(critic, generator)
    if begin is not None:
        critic.load_state_dict(begin.state_dict())
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(critic.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
    started, errors = time.monotonic(), [0.0]
    for update in range(settings.updates):
        if settings.player_steps and update and update % -(-settings.updates // settings.rounds) == 0:
            latest, seed = maker.policies[-1:], int(maker.rng.integers(2**31))
            agent, reached = learn_to_play(latest[0] if latest else None, critic, photos, settings.player_steps, seed)
            maker.policies.append(agent)
            say(f"{update}: PPO earns {reached:+.2f}, {time.monotonic() - started:.0f} s")
        if update % settings.attack_every == settings.attack_every - 1:
            gain = maker.attack(lambda x: critic(x) / SCALE, 16, settings.attack_steps)
            say(f"{update}: attacks reach {gain:+.2f} over the finished pictures")
        # Constant for the first half, then down to 0.
        decay = min(1.0, 2.0 - 2.0 * update / settings.updates)
        optimizer.param_groups[0]["lr"] = settings.learning_rate * decay
        versions = maker.batch(settings.photographs)
        with torch.autocast("cpu", torch.bfloat16):
            scores = critic(versions.images)
        loss = version_loss(scores, versions)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        errors.append(float(loss.detach()))
        if update % 50 == 49:
            say(f"{update + 1}: version loss {sum(errors[-50:]) / 50:.3f}, {time.monotonic() - started:.0f} s")
    return critic.eval().requires_grad_(False)


def calibrate(critic: Critic, photos: Photos) -> None:
    """Shift and stretch the scores, in place: finished photographs get 0 on average, untouched inputs ``-1 / WEIGHT``.

    So an episode that makes an input as good as a finished photograph earns 1, and using a filter twice costs as much.
    """
    scores = []
    with torch.no_grad():
        for photo_set in (photos.inputs, photos.targets):
            scores.append(float(torch.cat([critic(part) for part in torch.split(pictures(photo_set), 64)]).mean()))
    before, finished = scores
    stretch = 1.0 / (WEIGHT * (finished - before))
    critic.score.weight.data *= stretch
    critic.score.bias.data = (critic.score.bias.data - finished) * stretch


def main() -> None:
    default = Settings()
    parser = argparse.ArgumentParser(description="Train a critic that is fit to be a frozen reward.")
    add_photo_options(parser)
    parser.add_argument("--builtin", type=float, default=0.2, help="share of built-in photographs (%(default)s)")
    parser.add_argument("--begin", type=Path, help="critic to begin with (none)")
    for name, help_ in {
        "updates": "of the critic",
        "rounds": "of PPO and updates",
        "player_steps": "of PPO in a round",
        "photographs": "in an update",
        "learning_rate": "at the beginning",
        "attack_every": "updates between attacks",
        "attack_steps": "of the gradient attack",
        "seed": "of everything",
    }.items():
        value = getattr(default, name)
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(value), default=value, help=f"{help_} (%(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings(**{name: getattr(options, name) for name in Settings.__dataclass_fields__})
    photos, _ = read_photos(options)
    maker = VersionMaker([(photos, 1.0 - options.builtin), (builtin_photos(), options.builtin)], settings.seed)
    critic = train(
        photos,
        maker,
        settings,
        None if options.begin is None else load_critic(options.begin),
        lambda text: print(text, file=sys.stderr, flush=True),
    )
    calibrate(critic, photos)
    save_critic(critic, options.output)


if __name__ == "__main__":
    main()

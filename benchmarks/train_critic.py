"""Trains a critic that is fit to be a frozen reward: it knows more bad pictures than one agent makes.

A critic that was trained beside an agent has only seen that agent's pictures, and says anything about others. Here
it learns, with the same loss, to tell finished photographs from everything that players of the game come to:

* ``inputs``: dark linear ones, and as a camera would show them;
* ``random``: random edits of these, few and many, weak and strong, and with every parameter at its end;
* ``extremes``: one ready-made edit again and again, and blends with grey, with the picture's own mean and with its
  black and white: casts, burnt and drowned pictures, fog;
* ``agents``: what saved agents make of the inputs, early and late, with and without dropout, edit by edit;
* ``disturbed``: finished photographs with weak to strong random edits, each compared with itself: the slope that the
  gradient penalty measures is then that of the way back;
* ``attacks``: what a player who follows the critic's own gradient makes, against the critic of the time;
* ``players``: what PPO makes of the inputs, trained for a short time against the critic of the time, by the rules of
  version 0, a little further at the beginning of each round.

Without ``--begin`` it starts from the shipped critic.

    python benchmarks/train_critic.py -o critic.safetensors
    python benchmarks/critic_battery.py critic.safetensors
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ppo_single_file
import torch
from critic_battery import add_photo_options, darkened, developed, pictures, policy_player, read_photos
from torch import Tensor

from exposure_gym.attack import Plan, gradient_attack, random_plan
from exposure_gym.color import luminance
from exposure_gym.critic import Critic, critic_step, load_critic, save_critic
from exposure_gym.data import Photos, builtin_photos
from exposure_gym.envs.actions import DiscreteActions
from exposure_gym.evaluation import agent_player, play
from exposure_gym.game import RetouchGame
from exposure_gym.networks import initialise
from exposure_gym.rewards import CriticReward, shipped_critic

KINDS: dict[str, float] = {
    "inputs": 1, "random": 3, "extremes": 4, "agents": 1, "disturbed": 8, "attacks": 9, "players": 6,
}  # fmt: skip
"""Kinds of negatives and their shares of a batch."""
WEIGHT = 0.05
REPEATS = 0.5
"""Share of edited pictures that a filter may have come to twice: players find out what several colour casts do."""


class Negatives:
    """Pictures that are no finished photographs, and the finished ones they are compared with.

    :param sets: photo sets and the share of each; every kind of negative is made of all of them.
    :param agents: files of saved agents.
    """

    def __init__(self, sets: Sequence[tuple[Photos, float]], agents: Sequence[Path] = (), seed: int = 0) -> None:
        self.game = RetouchGame()
        self.menu = DiscreteActions(self.game)
        self.sets = [photos for photos, _ in sets]
        self.shares = np.array([share for _, share in sets])
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self.attacked: tuple[Tensor, Tensor] | None = None
        self.pool = self._agents_pool(agents) if agents else None
        self.played: tuple[Tensor, Tensor] | None = None
        self.agent: ppo_single_file.Agent | None = None

    def batch(self, kinds: Mapping[str, float], size: int) -> tuple[Tensor, Tensor]:
        """``size`` negatives and as many finished pictures, ``(B, 3, 64, 64)`` display values each."""
        share = np.array(list(kinds.values()), float)
        counts = self.rng.multinomial(size, share / share.sum())
        rows = [getattr(self, f"_{kind}")(count) for kind, count in zip(kinds, counts.tolist(), strict=True) if count]
        negatives, targets = (torch.cat(column) for column in zip(*rows, strict=True))
        return self._clipped(negatives), targets

    def _clipped(self, images: Tensor) -> Tensor:
        """Clipped at white, one in eight at twice that.

        Overexposed pictures are far from all others: a few with values up to 16 would be all that the loss is about.
        """
        limit = 1.0 + (torch.rand(len(images), 1, 1, 1, generator=self.noise) < 0.125)
        return torch.minimum(images, limit)

    def attack(self, critic: Critic, count: int, steps: int) -> float:
        """Attack a critic, keep what comes out (the newest 512 pictures), return its reward over finished ones."""
        inputs, targets = self._start(count)
        plan = gradient_attack(
            self.game, inputs, lambda x: WEIGHT * critic(x), self.noise, steps=steps, repeats=REPEATS
        )
        images = play(self.game, inputs, plan.player()).images
        with torch.no_grad():
            gain = WEIGHT * float((critic(images[-1]) - critic(targets)).mean())
        found = torch.cat([images[-1], images[-2]]), torch.cat([targets, targets])
        if self.attacked is None:
            self.attacked = found
        else:
            new, old = found, self.attacked
            self.attacked = torch.cat([new[0], old[0]])[:512], torch.cat([new[1], old[1]])[:512]
        return gain

    def learn_to_play(self, critic: Critic, steps: int, count: int = 128) -> float:
        """Go on to train PPO against a critic, keep what it makes, return its last reward in training."""
        judge = copy.deepcopy(critic).eval().requires_grad_(False)
        calibrate(judge, self.sets[0])
        log: list[float] = []
        self.agent = ppo_single_file.train(
            ppo_single_file.Settings(total_steps=steps, num_steps=10, seed=int(self.rng.integers(2**31))),
            lambda _, measured: log.append(measured.get("episode/reward", 0.0)),
            self.sets[0],
            CriticReward(judge, WEIGHT, name="critic of the time"),
            lambda _: {},
            self.agent,
        )
        inputs, targets = self._start(count)
        found = [] if self.played is None else [self.played]
        for noise in (None, self.noise):
            images = play(self.game, inputs, policy_player(self.agent, noise)).images
            found += [(image, targets) for image in images[3:]]
        images_of, targets_of = zip(*found, strict=True)
        self.played = torch.cat(images_of), torch.cat(targets_of)
        return log[-1]

    # -- kinds -----------------------------------------------------------------------------------------------------

    def _draw(self, count: int, what: str) -> Tensor:
        counts = self.rng.multinomial(count, self.shares / self.shares.sum())
        crops = [
            getattr(photos, what).sample(number, self.rng)
            for photos, number in zip(self.sets, counts.tolist(), strict=True)
            if number
        ]
        return torch.from_numpy(np.concatenate(crops)[self.rng.permutation(count)])

    def _targets(self, count: int) -> Tensor:
        return self._draw(count, "targets")

    def _start(self, count: int) -> tuple[Tensor, Tensor]:
        """Linear pictures: half of them inputs beside any finished picture, half finished ones, darkened."""
        targets = self._targets(count)
        half = count // 2
        stops = 3.0 * torch.rand(count, 1, 1, 1, generator=self.noise)
        start = darkened(targets, 0.0) * 2.0**-stops
        if half:
            start[:half] = self._draw(half, "inputs")
        return start, targets

    def _shown(self, count: int) -> tuple[Tensor, Tensor]:
        start, targets = self._start(count)
        return developed(start, 3.0 * torch.rand(count, generator=self.noise)), targets

    def _inputs(self, count: int) -> tuple[Tensor, Tensor]:
        return self._start(count) if self.rng.random() < 0.5 else self._shown(count)

    def _edited(self, images: Tensor, extremes: float, power: float = 1.0) -> Tensor:
        """After one to five random edits of any strength, a power above 1 for more weak ones; a share of them with
        every parameter at its end.
        """
        count = len(images)
        strength = torch.rand(count, generator=self.noise) ** power
        plan = random_plan(self.game, count, self.noise, strength, repeats=REPEATS)
        ends = torch.rand(count, generator=self.noise) < extremes
        full = random_plan(self.game, count, self.noise)
        parameters = torch.where(ends[:, None, None], full.parameters.sign(), plan.parameters)
        return self._some_step(play(self.game, images, Plan(plan.filter_index, parameters).player()).images[1:])

    def _some_step(self, images: list[Tensor]) -> Tensor:
        turn = torch.randint(0, len(images), (len(images[0]),), generator=self.noise)
        return torch.stack(images)[turn, torch.arange(len(turn))]

    def _random(self, count: int) -> tuple[Tensor, Tensor]:
        start, targets = self._start(count) if self.rng.random() < 0.3 else self._shown(count)
        return self._edited(start, 0.3), targets

    def _disturbed(self, count: int) -> tuple[Tensor, Tensor]:
        targets = self._targets(count)
        return self._edited(targets, 0.05, power=2.0), targets

    def _agents(self, count: int) -> tuple[Tensor, Tensor]:
        if self.pool is None:
            return self._random(count)
        return self._chosen(self.pool, count), self._targets(count)

    def _extremes(self, count: int) -> tuple[Tensor, Tensor]:
        start, targets = self._shown(count)
        half = torch.arange(count) % 2 == 0
        start[half] = targets[half]
        # The same ready-made edit up to four times, after any other.
        menu = torch.from_numpy(self.rng.integers(0, len(self.menu.labels), (count, 2)))[:, [0, 1, 1, 1, 1]]
        index, parameters = self.menu.decode(menu.flatten(), menu.numel())
        plan = Plan(index.reshape(menu.shape), parameters.reshape(*menu.shape, -1))
        stacked = self._some_step(play(self.game, start, plan.player()).images[1:])
        # A blend with grey, with the mean colour, with black and white.
        grey = torch.rand(count, 1, 1, 1, generator=self.noise).expand_as(start)
        mean = start.mean(dim=(2, 3), keepdim=True).expand_as(start)
        white = luminance(start).expand_as(start)
        kind = torch.from_numpy(self.rng.integers(0, 3, count))
        towards = torch.stack([grey, mean, white])[kind, torch.arange(count)]
        blended = start.lerp(towards, 0.3 + 0.7 * torch.rand(count, 1, 1, 1, generator=self.noise))
        fog = torch.rand(count, 1, 1, 1, generator=self.noise) < 0.5
        return torch.where(fog, blended, stacked), targets

    def _attacks(self, count: int) -> tuple[Tensor, Tensor]:
        return self._kept(self.attacked, count)

    def _players(self, count: int) -> tuple[Tensor, Tensor]:
        return self._kept(self.played, count)

    def _kept(self, kept: tuple[Tensor, Tensor] | None, count: int) -> tuple[Tensor, Tensor]:
        if kept is None:
            return self._random(count)
        images, targets = kept
        chosen = torch.from_numpy(self.rng.integers(0, len(images), count))
        return images[chosen], targets[chosen]

    def _chosen(self, pool: Tensor, count: int) -> Tensor:
        return pool[torch.from_numpy(self.rng.integers(0, len(pool), count))].float()

    def _agents_pool(self, files: Sequence[Path], count: int = 48) -> Tensor:
        from exposure_gym.agents import ExposureAgent

        found = []
        for file in files:
            agent = ExposureAgent.load(file, device="cpu")
            for seed in (0, None):
                images = play(agent.game, self._draw(count, "inputs"), agent_player(agent, seed)).images
                found += [image.half() for image in images[2:]]
        return torch.cat(found)


def train(
    negatives: Negatives,
    kinds: Mapping[str, float],
    *,
    updates: int,
    batch_size: int,
    learning_rate: float,
    attack_every: int,
    attack_steps: int = 20,
    rounds: int = 1,
    player_steps: int = 0,
    begin: Critic | None = None,
    seed: int = 0,
    say: Any = lambda text: None,
) -> Critic:
    """A critic trained for ``updates`` updates, from the weights of ``begin`` or from none.

    :param rounds: parts of it, each of which begins with PPO's ``player_steps`` against the critic (0: no PPO).
    """
    with torch.random.fork_rng(devices=[]):
        critic = Critic()
    generator = torch.Generator().manual_seed(seed)
    initialise(critic, generator)
    if begin is not None:
        critic.load_state_dict(begin.state_dict())
    critic.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(critic.parameters(), lr=learning_rate, betas=(0.5, 0.9))
    started = time.monotonic()
    for update in range(updates):
        if player_steps and update % -(-updates // rounds) == 0:
            reached = negatives.learn_to_play(critic, player_steps)
            say(f"{update}: PPO earns {reached:+.2f}, {time.monotonic() - started:.0f} s")
        if "attacks" in kinds and update and update % attack_every == 0:
            gain = negatives.attack(critic, 48, attack_steps)
            say(f"{update}: attacks reach {gain:+.2f} over the finished pictures")
        # Constant for the first third, then down to a twentieth.
        decay = 0.05 ** max(0.0, (update / updates - 1 / 3) * 1.5)
        optimizer.param_groups[0]["lr"] = learning_rate * decay
        finished, target = negatives.batch(kinds, batch_size)
        loss = critic_step(critic, optimizer, finished, target, generator)
        if update % 25 == 24:
            say(
                f"{update + 1}: emd {WEIGHT * float(loss.emd):.3f}, gradient {float(loss.gradient_norm.mean()):.2f}, "
                f"{time.monotonic() - started:.0f} s"
            )
    return critic.eval().requires_grad_(False)


def calibrate(critic: Critic, photos: Photos) -> None:
    """Shift and stretch the scores, in place: finished photographs get 0 on average, untouched inputs ``-1 / WEIGHT``.

    So an episode that makes an input as good as a finished photograph earns 1, and using a filter twice costs as much.
    """
    scores = []
    for photo_set in (photos.inputs, photos.targets):
        scores.append(float(torch.cat([critic(part) for part in torch.split(pictures(photo_set), 64)]).mean()))
    before, finished = scores
    stretch = 1.0 / (WEIGHT * (finished - before))
    critic.score.weight.data *= stretch
    critic.score.bias.data = (critic.score.bias.data - finished) * stretch


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a critic that is fit to be a frozen reward.")
    add_photo_options(parser)
    parser.add_argument("--agents", type=Path, nargs="*", default=[], help="files of saved agents")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of negatives (%(default)s)")
    parser.add_argument("--builtin", type=float, default=0.25, help="share of built-in photographs (%(default)s)")
    parser.add_argument("--begin", type=Path, help="critic to begin with (the shipped one)")
    parser.add_argument("--updates", type=int, default=360, help="of the critic (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of PPO and updates (%(default)s)")
    parser.add_argument("--player-steps", type=int, default=16_000, help="of PPO in a round (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="pictures of each kind in an update (%(default)s)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="at the beginning (%(default)s)")
    parser.add_argument("--attack-every", type=int, default=25, help="updates between attacks (%(default)s)")
    parser.add_argument("--attack-steps", type=int, default=20, help="of the gradient attack (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photos, _ = read_photos(arguments)
    sets = [(photos, 1.0 - arguments.builtin), (builtin_photos(), arguments.builtin)]
    negatives = Negatives(sets, arguments.agents, arguments.seed)
    kinds: dict[str, float] = {kind: KINDS[kind] for kind in arguments.kinds.split(",")}
    critic = train(
        negatives,
        kinds,
        updates=arguments.updates,
        batch_size=arguments.batch,
        learning_rate=arguments.learning_rate,
        attack_every=arguments.attack_every,
        attack_steps=arguments.attack_steps,
        rounds=arguments.rounds,
        player_steps=arguments.player_steps,
        begin=shipped_critic() if arguments.begin is None else load_critic(arguments.begin),
        seed=arguments.seed,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    calibrate(critic, photos)
    save_critic(critic, arguments.output)


if __name__ == "__main__":
    main()

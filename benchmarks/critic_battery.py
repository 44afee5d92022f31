"""How far critics can be trusted as rewards, on photographs that nothing was trained on.

    python benchmarks/critic_battery.py                                       # the shipped critic
    python benchmarks/critic_battery.py before.safetensors after.safetensors  # any others

Everything is drawn from seeds, so that critics are compared on the same pictures. What is here is used by the scripts
that train critics and that attack them, too.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import harness
import numpy as np
import ppo_single_file
import torch
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.attack import Plan, gradient_attack, neutral_parameters, random_plan
from exposure_gym.color import srgb_decode, srgb_encode
from exposure_gym.critic import load_critic
from exposure_gym.data import Photos, PhotoSet, builtin_photos
from exposure_gym.data.crop_cache import read_crops
from exposure_gym.data.crops import Cut
from exposure_gym.data.photo_set import Domain
from exposure_gym.envs.actions import DiscreteActions
from exposure_gym.evaluation import Player, episode_reward, play
from exposure_gym.filters import default_filters
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.metrics import ciede2000, histogram_intersection, photo_statistics
from exposure_gym.photo import list_photos
from exposure_gym.recipe import Edit
from exposure_gym.rewards import CriticReward, shipped_critic

METHOD = (
    "rank_histograms: Spearman's rank correlation of a critic's mean score with the histogram intersection, over "
    "random ways to edit, each applied to all inputs. rank_ciede2000: the same of its score with minus the colour "
    "difference to the finished picture, over edits of that picture, mean over pictures. fooled: the share of finished "
    "pictures whose score a visible disturbance raises, mean over disturbances; disturbed: each one's mean gain of "
    "reward, and that share. input_to_target: mean reward between inputs and finished pictures; spread_of_targets: its "
    "standard deviation over finished pictures. fog, cold_cast: reward for such pictures of the inputs. attack: "
    "what a gradient attack reaches (see reward_hacking.py)."
)

DISTURBANCES = {
    "blue cast": Edit("white_balance", (0.93, 0.93, 1.53)),
    "yellow cast": Edit("white_balance", (1.02, 1.02, 0.62)),
    "green cast": Edit("white_balance", (0.81, 1.10, 0.81)),
    "magenta cast": Edit("white_balance", (1.25, 0.88, 1.25)),
    "darker, 0.7 EV": Edit("exposure", (-0.7,)),
    "brighter, 0.7 EV": Edit("exposure", (0.7,)),
    "gamma 1.5": Edit("gamma", (1.5,)),
    "gamma 1/1.5": Edit("gamma", (1 / 1.5,)),
    "contrast -0.5": Edit("contrast", (-0.5,)),
    "contrast +0.7": Edit("contrast", (0.7,)),
    "saturation +0.7": Edit("saturation", (0.7,)),
    "half black and white": Edit("black_white", (0.5,)),
}
"""What makes most finished photographs worse, each clearly visible."""

HACKS = {
    "fog": ("gamma 1/1.5", "gamma 1/2.2", "tone flatten", "tone flatten", "tone flatten"),
    "cold_cast": ("gamma 1/1.5", "gamma 1/2.2", *["white_balance much cooler"] * 3),
}
"""Ready-made edits that PPO found against critics which paid for such pictures, when using a filter again was free."""


def pictures(photos: PhotoSet) -> Tensor:
    """Every crop of a set, whole: ``(N, 3, 64, 64)``."""
    return torch.from_numpy(np.stack([photos.get(i) for i in range(len(photos))]))


def statistics(images: Tensor) -> NDArray[np.float64]:
    return photo_statistics(images.clamp(0.0, 1.0).permute(0, 2, 3, 1).numpy())


def colour_difference(images: Tensor, targets: Tensor) -> NDArray[np.float64]:
    """CIEDE2000 of each picture to its finished version: ``(N,)``."""
    rows = zip(images.permute(0, 2, 3, 1).numpy(), targets.permute(0, 2, 3, 1).numpy(), strict=True)
    return np.array([ciede2000(image, target) for image, target in rows])


def darkened(display: Tensor, stops: float = 1.5) -> Tensor:
    """What a finished picture may have started from: linear light, some stops under (as the FiveK inputs are)."""
    linear: Tensor = srgb_decode(display.clamp(0.0, 1.0)) * 2.0**-stops
    return linear


def developed(linear: Tensor, stops: Tensor) -> Tensor:
    """A picture as a camera would show it: ``(B, 3, S, S)`` linear light, brightened by ``(B,)`` stops, encoded."""
    display: Tensor = srgb_encode((linear * 2.0 ** stops[:, None, None, None]).clamp(0.0, 1.0))
    return display


def rank_correlation(a: Any, b: Any) -> float:
    """Spearman's."""
    first, second = (np.argsort(np.argsort(np.asarray(values))) for values in (a, b))
    n = len(first)
    return float(1.0 - 6.0 * np.square(first - second).sum() / (n * (n * n - 1)))  # for there are no ties


class HeldOut:
    """Photographs to measure on, and what does not depend on the critic.

    :param photos: inputs and targets. Unpaired, pairs are made of the targets: each one darkened, and itself.
    """

    def __init__(
        self, photos: Photos, *, seed: int = 0, edits: int = 16, plans: int = 60, reuse_weight: float = 1.0
    ) -> None:
        self.game = RetouchGame(reuse_weight=reuse_weight)
        self.inputs, self.targets = pictures(photos.inputs), pictures(photos.targets)
        self.pair_inputs = self.inputs if photos.paired else darkened(self.targets)
        self.target_statistics = statistics(self.targets)
        self.seed = seed
        self._edits, self._plans = edits, plans
        self._made: tuple[Any, ...] | None = None

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    # -- one player ------------------------------------------------------------------------------------------------

    def measure(self, critic: CriticReward, player: Callable[[Tensor], Player]) -> dict[str, float]:
        """Reward, what the critic gives of it, histogram intersection (%) and colour difference of a player.

        :param player: made for these inputs.
        """
        episode = play(self.game, self.inputs, player(self.inputs))
        pairs = play(self.game, self.pair_inputs, player(self.pair_inputs))
        after = episode.images[-1]
        gain = critic.potential(after) - critic.potential(self.inputs)
        shared = histogram_intersection(statistics(after), self.target_statistics)
        _, contrast, saturation = statistics(after).mean(axis=0).tolist()
        red, _, blue = after.clamp(0, 1).mean(dim=(0, 2, 3)).tolist()
        return {
            "reward": float(episode_reward(critic, episode).mean()),
            "critic": float(gain.mean()),
            "histogram_intersection": 100 * shared.mean,
            "ciede2000": float(colour_difference(pairs.images[-1], self.targets).mean()),
            "contrast": contrast,
            "saturation": saturation,
            "blue_minus_red": blue - red,
        }

    def attack(self, critic: CriticReward, steps: int = 40) -> dict[str, float]:
        """The same of the gradient attack."""

        def player(image: Tensor) -> Player:
            plan = gradient_attack(
                self.game, image, lambda x: critic.weight * critic.critic(x), self.generator(), steps=steps
            )
            return plan.player()

        return self.measure(critic, player)

    def random(self, critic: CriticReward) -> dict[str, float]:
        """The same of random plans."""
        return self.measure(critic, lambda image: random_plan(self.game, len(image), self.generator()).player())

    # -- the critic alone ------------------------------------------------------------------------------------------

    def ranks(self, critic: CriticReward) -> dict[str, float]:
        """Spearman's rank correlation of the critic's score

        * with the histogram intersection, over ways to edit, each applied to all inputs;
        * with minus the colour difference to the finished picture, over edits of a picture, mean over the pictures.
        """
        if self._made is None:
            self._made = (*self._ways(), *self._versions())
        ways, shared, versions, difference = self._made
        scores = [float(critic.potential(images).mean()) for images in ways]
        rows = torch.stack([critic.potential(images) for images in versions], dim=1).numpy()
        near = [rank_correlation(row, -d) for row, d in zip(rows, difference, strict=True)]
        return {"rank_histograms": rank_correlation(scores, shared), "rank_ciede2000": float(np.mean(near))}

    def _ways(self) -> tuple[list[Tensor], list[float]]:
        noise, ways = self.generator(), []
        for _ in range(self._plans):
            stops = torch.rand(1, generator=noise) * 3.0
            one = random_plan(self.game, 1, noise, torch.rand(1, generator=noise))
            count = len(self.inputs)
            plan = Plan(one.filter_index.expand(count, -1), one.parameters.expand(count, -1, -1))
            images = play(self.game, developed(self.inputs, stops.expand(count)), plan.player()).images
            ways.append(images[int(torch.randint(0, len(images), (1,), generator=noise))].half().float())
        return ways, [histogram_intersection(statistics(images), self.target_statistics).mean for images in ways]

    def _versions(self) -> tuple[list[Tensor], NDArray[np.float64]]:
        noise, versions = self.generator(), []
        count = len(self.targets)
        for number in range(self._edits):
            stops = torch.rand(count, generator=noise) * 3.0
            # Half of them begin at the finished picture, half at what a camera shows of its input.
            begin = self.targets if number % 2 else developed(self.pair_inputs, stops)
            plan = random_plan(self.game, count, noise, torch.rand(count, generator=noise))
            images = play(self.game, begin, plan.player()).images
            versions.append(images[1 + number % self.game.max_steps])
        difference = np.stack([colour_difference(images, self.targets) for images in versions], axis=1)
        return versions, difference

    def disturbed(self, critic: CriticReward) -> dict[str, tuple[float, float]]:
        """For each of :data:`DISTURBANCES`: what finished pictures gain by it (reward), and the share that gains."""
        before = critic.potential(self.targets)
        result = {}
        for name, edit in DISTURBANCES.items():
            index = [f.name for f in default_filters()].index(edit.filter)
            parameters = neutral_parameters(self.game).clone()
            action = edit.function.action(np.array([edit.parameters]))[0]
            parameters[self.game.blocks[index]] = torch.from_numpy(np.asarray(action, np.float32)).clamp(-1, 1)
            count = len(self.targets)
            after = self.game.apply_chosen(self.targets, torch.full((count,), index), parameters.expand(count, -1))
            gain = critic.potential(after) - before
            result[name] = (float(gain.mean()), float((gain > 0).float().mean()))
        return result

    def hacks(self, critic: CriticReward) -> dict[str, float]:
        """What the critic gives for each of :data:`HACKS`, mean over the inputs, penalties left out."""
        menu = DiscreteActions(self.game)
        result = {}
        for name, labels in HACKS.items():
            actions = np.array([menu.labels.index(label) for label in labels])
            index, parameters = menu.decode(actions, len(actions))
            count = len(self.inputs)
            plan = Plan(index.expand(count, -1), parameters.expand(count, -1, -1))
            after = play(self.game, self.inputs, plan.player()).images[-1]
            result[name] = float((critic.potential(after) - critic.potential(self.inputs)).mean())
        return result

    def trust(self, critic: CriticReward) -> dict[str, Any]:
        """All of the critic alone, and its scale: the reward between inputs and targets, and the targets' spread.

        ``fooled``: the share of finished pictures that gain by being disturbed, mean over :data:`DISTURBANCES`.
        """
        disturbed = self.disturbed(critic)
        targets = critic.potential(self.targets)
        return {
            **self.ranks(critic),
            "fooled": float(np.mean([share for _, share in disturbed.values()])),
            "input_to_target": float(targets.mean() - critic.potential(self.inputs).mean()),
            "spread_of_targets": float(targets.std()),
            **self.hacks(critic),
            "disturbed": {name: {"gain": gain, "share": share} for name, (gain, share) in disturbed.items()},
        }


def policy_player(agent: ppo_single_file.Agent, noise: torch.Generator | None = None) -> Player:
    """What PPO learned, as a player of the bare game: its likeliest edits, or with ``noise`` drawn ones."""

    def player(state: GameState) -> tuple[Tensor, Tensor]:
        seen = ppo_single_file.Observation(state.image.permute(0, 2, 3, 1), state.filters_used, state.step)
        with torch.no_grad():
            choices, parameters, _ = agent(seen)
        if noise is None:
            return choices.argmax(dim=1), parameters.clamp(-1.0, 1.0)
        drawn = parameters + agent.log_spread.exp() * torch.randn(parameters.shape, generator=noise)
        return torch.multinomial(choices.exp(), 1, generator=noise)[:, 0], drawn.clamp(-1.0, 1.0).detach()

    return player


# -- the photographs ---------------------------------------------------------------------------------------------------

FOLDERS = ("inputs", "targets", "test_inputs", "test_targets")


def add_photo_options(parser: argparse.ArgumentParser) -> None:
    """Options for four folders; without them the built-in photographs are taken."""
    parser.add_argument("--inputs", type=Path, help="folder of linear photographs to play on")
    parser.add_argument("--targets", type=Path, help="folder of finished photographs")
    parser.add_argument("--test-inputs", type=Path, help="folder of linear photographs to measure on")
    parser.add_argument("--test-targets", type=Path, help="folder of finished photographs to measure with")
    parser.add_argument(
        "--paired",
        action="store_true",
        help="the folders hold pairs by name; inputs are display values too, and are played on as they are",
    )
    parser.add_argument(
        "--hold-back",
        action="store_true",
        help="keep a fifth of the photographs to train on back, and measure on these: to choose without the test ones",
    )


def read_photos(options: argparse.Namespace, scenes: int = 256) -> tuple[Photos, Photos]:
    """To train on, and held out.

    :param scenes: how many generated ones are among the built-in photographs.
    :raises SystemExit: some folders are named and others are not; :class:`ValueError`: they do not fit.
    """
    given = [getattr(options, name) for name in FOLDERS]
    if options.hold_back and (options.paired or not all(given)):
        raise SystemExit("--hold-back needs all four folders, and knows no pairs")
    if not any(given):
        return builtin_photos(scenes=scenes), builtin_photos(scenes=scenes, split="test")
    if not all(given):
        raise SystemExit("name all four folders: --inputs, --targets, --test-inputs and --test-targets")
    folders = [(inputs, targets) for inputs, targets in (given[:2], given[2:])]
    if options.hold_back:
        (inputs, held_inputs), (targets, held_targets) = (_held_back(list_photos([folder])) for folder in given[:2])
        return (
            Photos(_photo_set(inputs, "linear", 4), _photo_set(targets, "display", 4)),
            Photos(_photo_set(held_inputs, "linear", 3), _photo_set(held_targets, "display", 2)),
        )
    if options.paired:
        train, test = (
            Photos(
                PhotoSet.from_folder(inputs, "display", crops=1),
                PhotoSet.from_folder(targets, "display", crops=1),
                paired=True,
                display_inputs=True,
            )
            for inputs, targets in folders
        )
        return train, test
    train, test = (
        Photos(
            PhotoSet.from_folder(inputs, "linear", crops=crops),
            PhotoSet.from_folder(targets, "display", crops=target_crops),
        )
        for (inputs, targets), crops, target_crops in zip(folders, (4, 3), (4, 2), strict=True)
    )
    return train, test


def _held_back(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files, and a fifth of them that is held back, always the same; at least 16, as far as half of them go."""
    count = min(max(16, len(files) // 5), len(files) // 2)
    shuffled = list(files)
    random.Random(0).shuffle(shuffled)
    held = set(shuffled[:count])
    return [file for file in files if file not in held], [file for file in files if file in held]


def _photo_set(files: Sequence[Path], domain: Domain, crops: int) -> PhotoSet:
    pixels, names = read_crops([(file,) for file in files], Cut((domain,), crops))
    return PhotoSet(pixels, domain, names)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how far critics can be trusted as rewards.")
    parser.add_argument("critics", type=Path, nargs="*", help="files of critics (the shipped one)")
    add_photo_options(parser)
    parser.add_argument("--attack-steps", type=int, default=40, help="of the gradient attack (%(default)s)")
    parser.add_argument("--out", type=Path, default=harness.RESULTS, help="folder of the JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    load = harness.OtherLoad()
    test = read_photos(options)[1]
    held_out = HeldOut(test)
    critics = {path.stem: load_critic(path) for path in options.critics} or {"shipped": shipped_critic()}
    rows = []
    for name, critic in critics.items():
        reward = CriticReward(critic, name="tried")
        attack = held_out.attack(reward, options.attack_steps)
        rows.append(
            {"name": name, **held_out.trust(reward)} | {f"attack_{key}": value for key, value in attack.items()}
        )
    harness.save(
        "critic_battery",
        rows,
        columns={
            "critic": "name",
            "rank, histograms": "rank_histograms",
            "rank, CIEDE2000": "rank_ciede2000",
            "fooled": "fooled",
            "input to target": "input_to_target",
            "fog": "fog",
            "cold cast": "cold_cast",
            "attack: reward": "attack_reward",
            "attack: histograms, %": "attack_histogram_intersection",
            "attack: CIEDE2000": "attack_ciede2000",
        },
        method=METHOD,
        settings={
            "smoke": False,
            "photos": "built-in" if options.inputs is None else "folders",
            "held_out_inputs": len(test.inputs),
            "held_out_targets": len(test.targets),
            "attack_steps": options.attack_steps,
        },
        load=load,
        out=options.out,
    )


if __name__ == "__main__":
    main()

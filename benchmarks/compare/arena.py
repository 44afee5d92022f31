"""Where algorithms meet: photographs to learn on, others to be measured on, the rules and the reward."""

from __future__ import annotations

import time
from itertools import pairwise
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from critic_battery import colour_difference, statistics
from torch import Tensor

from exposure_gym.data import PhotoSet, builtin_photos
from exposure_gym.envs import SB3VecEnv, make_sb3_env
from exposure_gym.evaluation import Episode, Player, play
from exposure_gym.game import GameState, RetouchGame
from exposure_gym.metrics import histogram_intersection
from exposure_gym.rewards import CriticReward, ReferenceReward, make_reward

VISIBLE = 0.5 / 255
"""Mean change of a picture above which an edit counts as used: half a code."""
TIMED = 8
"""Photographs on which deciding is timed, one by one."""


class Arena:
    """An environment to learn in, and an examination on photographs that nobody learned on.

    :param reward: ``"critic"``, the frozen one of version 0, or ``"reference"``.
    :param image_size: of the pictures, in pixels; :param scenes: generated ones among the built-in photographs.
    :param held_out: of the test photographs so many, evenly spaced; 0 for all.
    :param split: which photographs players are measured on; ``"train"`` to choose hyperparameters by.
    :param game: rules, as keywords of the environments: ``max_steps``, ``filters``, ...
    """

    def __init__(
        self,
        reward: str = "critic",
        image_size: int = 64,
        scenes: int = 256,
        held_out: int = 0,
        split: str = "test",
        **game: Any,
    ) -> None:
        self.photos = builtin_photos(scenes=scenes)
        test = builtin_photos(scenes=scenes, split=split)
        chosen = np.arange(len(test.inputs))
        if held_out:
            chosen = np.unique(np.linspace(0, len(chosen) - 1, held_out).round().astype(int))
        self.image_size = image_size
        self.inputs, self.targets = (_pictures(set_, chosen, image_size) for set_ in (test.inputs, test.targets))
        self.reward = make_reward(reward, self.photos, image_size)
        self.critic = CriticReward()
        self.rules = game
        self.game: RetouchGame = bare(self.env("PhotoRetouch-v0", 1)).get_attr("game")[0]
        self._target_statistics = statistics(self.targets)
        self._played = slice(None)
        """Which of the held-out photographs are being played on."""

    def env(self, id: str, count: int, preview: bool = False) -> Any:
        """The training environment, in the form of this id, as Stable-Baselines3 wants it: ``count`` games."""
        return make_sb3_env(
            id, count, self.reward, photos=self.photos, image_size=self.image_size, preview=preview, **self.rules
        )

    def potential(self, image: Tensor) -> Tensor:
        """Of the reward, for what is being made of the held-out photographs: ``(N, 3, S, S)`` in their order."""
        if isinstance(self.reward, ReferenceReward):
            return self.reward.potential(image, self.targets[self._played])
        return self.reward.potential(image)

    def score(self, image: Tensor) -> Tensor:
        """:meth:`potential` with its gradient."""
        if isinstance(self.reward, CriticReward):
            size = self.reward.critic.image_size
            if image.shape[-1] != size:
                image = torch.nn.functional.interpolate(image, (size, size), mode="area")
            return self.reward.weight * cast(Tensor, self.reward.critic(image))
        return self.potential(image)

    def examine(self, player: Player) -> dict[str, Any]:
        """What a player makes of the held-out photographs.

        ``reward``: of an episode, penalties included; ``critic``: what the frozen critic of version 0 gives of it;
        ``histogram_intersection``: per cent, with the finished versions; ``ciede2000``: mean colour difference to them;
        ``edits``: of an episode that change the picture visibly; ``reuse``: edits of filters used before; ``filters``:
        share of each.
        """
        chosen: list[Tensor] = []

        def watched(state: GameState) -> tuple[Tensor, Tensor]:
            index, parameters = player(state)
            chosen.append(index)
            return index, parameters

        episode = play(self.game, self.inputs, watched)
        last = episode.images[-1]
        used = torch.bincount(torch.cat(chosen), minlength=self.game.num_choices).double()
        return {
            "reward": _mean(self.potential(last) - self.potential(self.inputs) - episode.penalty),
            "critic": _mean(self.critic.potential(last) - self.critic.potential(self.inputs)),
            "histogram_intersection": 100.0 * histogram_intersection(statistics(last), self._target_statistics).mean,
            "ciede2000": float(colour_difference(last, self.targets).mean()),
            "edits": _mean(_visible(episode)),
            "reuse": _mean(_repeats(torch.stack(chosen, dim=1), len(self.game.filters))),
            "filters": {f.name: float(n / used.sum()) for f, n in zip(self.game.filters, used, strict=False)},
        }

    def milliseconds(self, player: Player) -> float:
        """To decide on one edit of one photograph, median; what an episode needs is spread over its edits."""
        times = []
        for row in range(min(TIMED, len(self.inputs))):
            spent, self._played = 0.0, slice(row, row + 1)
            state = self.game.start(self.inputs[self._played])
            for _ in range(self.game.max_steps):
                start = time.perf_counter()
                index, parameters = player(state)
                spent += time.perf_counter() - start
                with torch.no_grad():
                    state = self.game.transition(state, index, parameters).state
            times.append(1e3 * spent / self.game.max_steps)
        self._played = slice(None)
        return median(times)


def bare(env: Any) -> SB3VecEnv:
    """The batched environment inside Stable-Baselines3's wrappers."""
    return cast(SB3VecEnv, env.unwrapped)


def _pictures(photos: PhotoSet, rows: Any, size: int) -> Tensor:
    return torch.from_numpy(np.stack([photos.get(int(row), size) for row in rows]))


def _mean(values: Tensor) -> float:
    return float(values.double().mean())


def _visible(episode: Episode) -> Tensor:
    """``(B,)``: edits that change what a person would see."""
    shown = [image.clamp(0.0, 1.0) for image in episode.images]
    changes = [(after - before).abs().mean(dim=(1, 2, 3)) for before, after in pairwise(shown)]
    return (torch.stack(changes) > VISIBLE).sum(dim=0)


def _repeats(chosen: Tensor, filters: int) -> Tensor:
    """``(B,)`` of ``(B, T)`` choices: how often a filter came again."""
    counts = torch.nn.functional.one_hot(chosen, filters + 1)[:, :, :filters].sum(dim=1)
    return (counts - 1).clamp(min=0).sum(dim=1)

"""Finished photographs beside worse versions of themselves, and how visibly worse they are.

What a frozen critic has to know is not which pictures are photographs, but which version of a photograph is nearer to
the finished one. Everything here therefore comes from finished photographs, so that the answer is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import ppo_single_file
import torch
from critic_battery import policy_player
from torch import Tensor

from exposure_gym.attack import Plan, gradient_attack, random_plan
from exposure_gym.color import luminance, srgb_decode, srgb_encode, srgb_to_lab
from exposure_gym.critic import picture_statistics
from exposure_gym.data import Photos
from exposure_gym.envs.actions import DiscreteActions
from exposure_gym.evaluation import play
from exposure_gym.game import RetouchGame

REPEATS = 0.5
"""Share of edited pictures that a filter may have come to twice: players find out what several colour casts do."""


class Versions(NamedTuple):
    """Pictures ``(B, 3, S, S)``, display values, and what is known of them."""

    images: Tensor
    distance: Tensor
    """``(B,)``: :func:`visible_distance` to the finished version, 0 for that itself."""
    group: Tensor
    """``(B,)`` int64: which photograph they are versions of."""


def visible_distance(image: Tensor, finished: Tensor) -> Tensor:
    """How much worse a version looks than the finished picture: ``(B,)``, from 0 (the same) to below 1.

    The mean colour difference, 25 units of CIELAB counting 1, and what a mean over pixels forgives: half the
    logarithms by which contrast and the spread of colours differ. A flat picture of the right brightness is not near,
    and a pale one does not come nearer by a cast, as it would if saturation counted. The sum ``d`` is bent,
    ``d / (1 + d)``, so that the last steps to the finished picture count more than the first ones.

    :param image: ``(B, 3, S, S)`` display values, as ``finished``; both are clipped at 1, as a screen does.
    """
    first, second = image.clamp(0.0, 1.0), finished.clamp(0.0, 1.0)
    lab, wanted = srgb_to_lab(first), srgb_to_lab(second)
    colour = (lab - wanted).square().sum(dim=1).sqrt().mean(dim=(1, 2)) / 25.0
    ratio = (_looks(first, lab) / _looks(second, wanted)).log().abs().sum(dim=1)
    distance: Tensor = colour + 0.5 * ratio
    return distance / (1.0 + distance)


def _looks(image: Tensor, lab: Tensor) -> Tensor:
    """Contrast, and the spread of colours in units of 50, each a little above 0: ``(B, 2)``.

    The spread is the standard deviation of a* and b* over the picture, which a cast moves and leaves as it is.
    """
    _, variance, _ = picture_statistics(image).unbind(dim=1)
    spread = lab[:, 1:].var(dim=(2, 3), correction=0).sum(dim=1)
    return torch.stack([2.0 * variance.sqrt(), spread.sqrt() / 50.0], dim=1) + 0.05


class VersionMaker:
    """Makes a version of each kind of the same finished photographs.

    * ``flat``: blended with grey, with its mean colour or its mean luminance, or with less contrast by the filter;
    * ``pale``, ``garish``: less and more saturated;
    * ``cast``: red, green and blue gained apart, in all hues;
    * ``exposed``: too dark, too bright, or with another gamma;
    * ``mixed``: two to four of these, one after the other, each weaker;
    * ``random``: one to five random edits, from weak to strong;
    * ``played``: random edits of what it may have started from, dark linear light without its look;
    * ``developed``: that start as a camera would show it, with a weak edit;
    * ``extremes``: the same ready-made edit up to four times, after any other;
    * ``players``: what policies make of that start, the last one and earlier ones, edit by edit; random edits until
      there is one.

    :param sets: photo sets and the share of each. :param seed: of everything.
    """

    def __init__(self, sets: Sequence[tuple[Photos, float]], seed: int = 0) -> None:
        self.game = RetouchGame()
        self.menu = DiscreteActions(self.game)
        self.sets = [photos for photos, _ in sets]
        self.shares = np.array([share for _, share in sets])
        self.rng = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(seed)
        self.policies: list[ppo_single_file.Agent] = []
        self.attacked: tuple[Tensor, Tensor] | None = None
        self.kinds: dict[str, Callable[[Tensor], Tensor]] = {
            "flat": self._flat, "pale": self._pale, "garish": self._garish, "cast": self._cast,
            "exposed": self._exposed, "mixed": self._mixed, "random": self._random, "played": self._played,
            "developed": self._developed, "extremes": self._extremes, "players": self._players,
        }  # fmt: skip

    def batch(self, count: int, kinds: Sequence[str] | None = None) -> Versions:
        """``count`` finished photographs, a version of each kind of all of them, and as many attacked ones."""
        finished = self.finished(count)
        groups = torch.arange(count)
        images, originals, group = [finished], [finished], [groups]
        for kind in self.kinds if kinds is None else kinds:
            images.append(self.kinds[kind](finished))
            originals.append(finished)
            group.append(groups)
        if kinds is None and self.attacked is not None:
            chosen = torch.from_numpy(self.rng.integers(0, len(self.attacked[0]), count))
            pair = [part[chosen] for part in self.attacked]
            images, originals, group = [*images, *pair], [*originals, pair[1], pair[1]], [*group, *[groups + count] * 2]
        made = self._clipped(torch.cat(images))
        return Versions(made, visible_distance(made, torch.cat(originals)), torch.cat(group))

    def finished(self, count: int) -> Tensor:
        """Finished photographs: random squares of random size, turned, mirrored and rolled.

        Content says nothing about the look: a critic that saw 171 photographs as they are would learn them by heart.
        """
        counts = self.rng.multinomial(count, self.shares / self.shares.sum())
        parts = []
        for photos, number in zip(self.sets, counts.tolist(), strict=True):
            if number:
                size = int(self.rng.integers(40, photos.targets.size + 1))
                crops = torch.from_numpy(photos.targets.sample(number, self.rng, size))
                mode = "area" if size >= 64 else "bilinear"
                parts.append(torch.nn.functional.interpolate(crops, (64, 64), mode=mode))
        images = torch.cat(parts)[torch.from_numpy(self.rng.permutation(count))]
        if self.rng.random() < 0.5:
            images = images.transpose(2, 3)
        if self.rng.random() < 0.5:
            images = images.flip(2)
        down, right = self.rng.integers(0, 64, 2).tolist() if self.rng.random() < 0.5 else (0, 0)
        return images.roll((down, right), (2, 3)).contiguous()

    def start(self, finished: Tensor) -> Tensor:
        """What finished pictures may have started from: less colour and contrast, a tint, linear light, 0 to 3 EV
        darker.
        """
        count = len(finished)
        plain = finished.lerp(luminance(finished).expand_as(finished), 0.6 * self._uniform(count))
        plain = plain.lerp(plain.mean(dim=(1, 2, 3), keepdim=True).expand_as(plain), 0.5 * self._uniform(count))
        linear: Tensor = srgb_decode(plain.clamp(0.0, 1.0)) * self._gains(count, 0.25)
        return linear * 2.0 ** (-3.0 * self._uniform(count))

    def attack(self, score: Callable[[Tensor], Tensor], count: int, steps: int) -> float:
        """Attack a score in units of the reward from linear starts, and keep what comes out, the newest 256 pictures.

        :return: how much better than finished photographs the attacked ones are judged.
        """
        finished = self.finished(count)
        start = self.start(finished)
        plan = gradient_attack(self.game, start, score, self.noise, steps=steps, repeats=REPEATS)
        images = play(self.game, start, plan.player()).images
        with torch.no_grad():
            gain = float((score(images[-1]) - score(finished)).mean())
        found = torch.cat([images[-1], images[-2]]), torch.cat([finished, finished])
        if self.attacked is not None:
            found = torch.cat([found[0], self.attacked[0]])[:256], torch.cat([found[1], self.attacked[1]])[:256]
        self.attacked = found
        return gain

    # -- kinds: (B, 3, S, S) to the same ---------------------------------------------------------------------------

    def _uniform(self, count: int) -> Tensor:
        return torch.rand(count, 1, 1, 1, generator=self.noise)

    def _gains(self, count: int, reach: float) -> Tensor:
        """Gains of red, green and blue, of any hue, that leave the mean as it is: ``(B, 3, 1, 1)``."""
        hue = torch.randn(count, 3, 1, 1, generator=self.noise)
        hue = hue - hue.mean(dim=1, keepdim=True)
        hue = hue / hue.square().sum(dim=1, keepdim=True).sqrt()
        return (reach * self._uniform(count) * hue).exp()

    def _flat(self, finished: Tensor) -> Tensor:
        count = len(finished)
        towards = [
            self._uniform(count).expand_as(finished),
            finished.mean(dim=(2, 3), keepdim=True).expand_as(finished),
            finished.mean(dim=(1, 2, 3), keepdim=True).expand_as(finished),
        ]
        grey = self._one_of(towards)
        blended = finished.lerp(grey, 0.95 * self._uniform(count))
        curved = self._filtered(finished, "contrast", -self._uniform(count)[:, :, 0, 0])
        return self._one_of([blended, blended, curved])

    def _pale(self, finished: Tensor) -> Tensor:
        return finished.lerp(luminance(finished).expand_as(finished), self._uniform(len(finished)))

    def _garish(self, finished: Tensor) -> Tensor:
        count = len(finished)
        away = luminance(finished).lerp(finished, 1.0 + 2.0 * self._uniform(count)).clamp(0.0, 1.0)
        filtered = self._filtered(finished, "saturation", 2.0 * self._uniform(count)[:, :, 0, 0] - 1.0)
        return self._one_of([away, filtered])

    def _cast(self, finished: Tensor) -> Tensor:
        return finished * self._gains(len(finished), 0.8)

    def _exposed(self, finished: Tensor) -> Tensor:
        count = len(finished)
        stops = 4.0 * self._uniform(count) - 2.0
        power = (2.2 * self._uniform(count) - 1.1).exp()
        return self._one_of([finished * 2.0**stops, finished.clamp(min=1e-3) ** power])

    def _mixed(self, finished: Tensor) -> Tensor:
        images = finished
        for kind in self.rng.permutation(["flat", "pale", "garish", "cast", "exposed"])[: self.rng.integers(2, 5)]:
            images = images.lerp(self.kinds[kind](images.clamp(0.0, 1.0)), 0.7)
        return images

    def _random(self, finished: Tensor) -> Tensor:
        return self._some_edit(finished, self._uniform(len(finished)).flatten() ** 2)

    def _played(self, finished: Tensor) -> Tensor:
        start = self.start(finished)
        return self._one_of([start, *[self._some_edit(start, self._uniform(len(start)).flatten())] * 5])

    def _developed(self, finished: Tensor) -> Tensor:
        start = self.start(finished)
        bright = srgb_encode((start * 2.0 ** (3.0 * self._uniform(len(start)))).clamp(0.0, 1.0))
        return self._some_edit(bright, self._uniform(len(start)).flatten() ** 2)

    def _extremes(self, finished: Tensor) -> Tensor:
        start = self._one_of([finished, self._developed(finished)])
        menu = torch.from_numpy(self.rng.integers(0, len(self.menu.labels), (len(start), 2)))[:, [0, 1, 1, 1, 1]]
        index, parameters = self.menu.decode(menu.flatten(), menu.numel())
        plan = Plan(index.reshape(menu.shape), parameters.reshape(*menu.shape, -1))
        return self._one_of(play(self.game, start, plan.player()).images[1:])

    def _players(self, finished: Tensor) -> Tensor:
        if not self.policies:
            return self._played(finished)
        latest = self.rng.random() < 0.5
        policy = self.policies[-1 if latest else int(self.rng.integers(len(self.policies)))]
        noise = self.noise if self.rng.random() < 0.5 else None
        images = play(self.game, self.start(finished), policy_player(policy, noise)).images
        return self._one_of([*images[2:], images[-1]])

    # -- parts of them ---------------------------------------------------------------------------------------------

    def _one_of(self, choices: Sequence[Tensor]) -> Tensor:
        """For each row any of the choices."""
        drawn = torch.from_numpy(self.rng.integers(0, len(choices), len(choices[0])))
        return torch.stack(list(choices))[drawn, torch.arange(len(drawn))]

    def _filtered(self, images: Tensor, name: str, action: Tensor) -> Tensor:
        filter_ = next(filter_ for filter_ in self.game.filters if filter_.name == name)
        filtered: Tensor = filter_.apply(images, filter_.physical(action))
        return filtered

    def _some_edit(self, images: Tensor, strength: Tensor) -> Tensor:
        """After one to five random edits; a fifth of them with every parameter at its end."""
        count = len(images)
        plan = random_plan(self.game, count, self.noise, strength, repeats=REPEATS)
        ends = torch.rand(count, 1, 1, generator=self.noise) < 0.2
        full = random_plan(self.game, count, self.noise).parameters.sign()
        plan = Plan(plan.filter_index, torch.where(ends & (strength[:, None, None] > 0.5), full, plan.parameters))
        return self._one_of(play(self.game, images, plan.player()).images[1:])

    def _clipped(self, images: Tensor) -> Tensor:
        """Clipped at white, one in eight at twice that: the game itself fines what is brighter."""
        limit = 1.0 + (torch.rand(len(images), 1, 1, 1, generator=self.noise) < 0.125)
        return torch.minimum(images, limit)

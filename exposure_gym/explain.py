"""Explain a black-box filter: from pictures before and after it, a recipe that mimics it.

In the spirit of the paper's Nashville example, where the agent found the steps of a filter that nobody can look into.
Here the answer is searched for instead of learned, through the same differentiable game: which filters in which order
by beam search, their parameters by gradient descent on the CIELAB difference. Of two explanations that are about as
good the one with fewer edits wins. One input, one answer: nothing is left to chance.

Both pictures of a pair are finished photographs, so everything here is display values (codes / 255): the recipe takes
them too (``input_domain="display"``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from exposure_gym.color import srgb_to_lab
from exposure_gym.game import RetouchGame
from exposure_gym.metrics import ciede2000, psnr
from exposure_gym.recipe import Recipe

Picture = NDArray[np.float32]
Pair = tuple[Picture, Picture]
"""Before and after: two ``(H, W, 3)`` of one shape, display values."""

EDIT_COST = 0.4
"""Colour difference (CIELAB) that one more edit must at least take away. An eye notices 1; 8 bits alone make 0.3."""


REACH = {"tone": 1.5, "color": 9.0}
"""How much farther than an agent's actions some parameters may go: slopes from about 0.1 to 2. An agent's colour curves
(0.9 to 1.1) are a touch of colour, which is safe when learning; those of a filter app are not so shy."""


class _Effort(NamedTuple):
    """How thoroughly parameters are fitted, and how many of the candidates stay."""

    pixels: int
    steps: int
    learning_rate: float
    kept: int


SCREEN = _Effort(pixels=256, steps=25, learning_rate=0.1, kept=12)
"""For every candidate."""
SEARCH = _Effort(pixels=1024, steps=50, learning_rate=0.06, kept=4)
"""For the promising ones of a length; those that stay grow on."""
FINISH = _Effort(pixels=8192, steps=250, learning_rate=0.03, kept=1)
"""For the best of each length."""


@dataclass(frozen=True)
class _Candidate:
    """A sequence of filters with their actions."""

    filters: tuple[int, ...]
    actions: Tensor
    """``(len(filters), 39)`` in [-1, 1], in units of the reach; of each row only the filter's own block acts."""
    error: float = math.inf
    """Mean difference in CIELAB."""

    @property
    def cost(self) -> float:
        """What is minimised: the error, and something for every edit."""
        return self.error + EDIT_COST * len(self.filters)


def explain(
    pairs: Sequence[Pair],
    max_edits: int = 4,
    size: int = 64,
    progress: Callable[[int], None] = lambda edits: None,
) -> Recipe:
    """Find a recipe that turns each ``before`` into its ``after``.

    Sequences grow by one filter at a time, put in at any place; no filter comes twice. All candidates of a length are
    fitted side by side as one batch, then the best few grow on. The paper's filters act on single pixels alone, so the
    pixels of a coarse grid over each picture are enough.

    :param pairs: pictures of one black-box filter.
    :param max_edits: most edits in the recipe.
    :param size: points of the grid along the longer edge of a picture.
    :param progress: called with each number of edits that has been searched.
    :return: the recipe, ``input_domain="display"``; empty when the filter does nothing that can be seen.
    :raises ValueError: no pair, or the pictures of one differ in shape.
    """
    if not pairs or max_edits < 1:
        raise ValueError("to explain a filter takes at least one pair of pictures and one edit")
    search = _Search(*_pixels(pairs, size))
    beam = [_Candidate((), torch.zeros(0, search.game.num_parameters))]
    found = search.fit(beam, FINISH)
    for edits in range(1, max_edits + 1):
        if found[-1].error < EDIT_COST:  # no further edit could pay for itself
            break
        beam = search.fit(search.fit(search.grown(beam), SCREEN), SEARCH)
        found += search.fit(beam[:1], FINISH)
        progress(edits)
    return search.recipe(search.pruned(min(found, key=lambda candidate: candidate.cost)))


class Difference(NamedTuple):
    """How far pictures are apart, on the mean."""

    ciede2000: float
    psnr: float
    """In dB; infinite where all are equal."""


def measure(recipe: Recipe, pairs: Sequence[Pair]) -> Difference:
    """How well a recipe does what a filter did: its results against the pictures after the filter."""
    results = [recipe.apply_photo(np.asarray(before, np.float32)) for before, _ in pairs]
    rows = [(ciede2000(result, after), psnr(result, after)) for result, (_, after) in zip(results, pairs, strict=True)]
    return Difference(*np.mean(rows, axis=0).tolist())


def _pixels(pairs: Sequence[Pair], size: int) -> tuple[Tensor, Tensor]:
    """The pixels of a grid over every pair, shuffled: twice ``(1, 3, 1, N)``."""
    columns: tuple[list[Picture], list[Picture]] = ([], [])
    for pair in pairs:
        if pair[0].shape != pair[1].shape:
            raise ValueError(f"before and after must have one size, not {pair[0].shape[:2]} and {pair[1].shape[:2]}")
        stride = max(1.0, max(pair[0].shape[:2]) / size)
        rows, cols = (
            (np.arange(round(n / stride) or 1) * stride + stride / 2).astype(int).clip(0, n - 1)
            for n in pair[0].shape[:2]
        )
        for column, picture in zip(columns, pair, strict=True):
            column.append(np.asarray(picture, np.float32)[np.ix_(rows, cols)].reshape(-1, 3))
    pixels = [np.concatenate(column) for column in columns]
    order = np.random.default_rng(0).permutation(len(pixels[0]))
    before, after = (torch.from_numpy(values[order].T[None, :, None].copy()).clamp(0.0, 1.0) for values in pixels)
    return before, after


class _Search:
    """Candidates on one set of pixels."""

    def __init__(self, before: Tensor, after: Tensor) -> None:
        self.game = RetouchGame()
        self.before = before
        self.lab = srgb_to_lab(after)
        filters = self.game.filters
        self.neutral = torch.cat([torch.full((f.num_actions,), f.neutral_action) for f in filters])
        self.reach = torch.cat([torch.full((f.num_actions,), REACH.get(f.name, 1.0)) for f in filters])

    def grown(self, beam: Sequence[_Candidate]) -> list[_Candidate]:
        """Every candidate with every filter it lacks at every place, each sequence once, the best parent's."""
        children: dict[tuple[int, ...], _Candidate] = {}
        for parent in beam:
            for filter_ in range(len(self.game.filters)):
                if filter_ in parent.filters:
                    continue
                for place in range(len(parent.filters) + 1):
                    filters = (*parent.filters[:place], filter_, *parent.filters[place:])
                    actions = torch.cat([parent.actions[:place], self.neutral[None], parent.actions[place:]])
                    children.setdefault(filters, _Candidate(filters, actions))
        return list(children.values())

    def pruned(self, candidate: _Candidate) -> _Candidate:
        """Without edits that later ones made needless."""
        while candidate.filters:
            shorter = [
                _Candidate(
                    candidate.filters[:i] + candidate.filters[i + 1 :],
                    torch.cat([candidate.actions[:i], candidate.actions[i + 1 :]]),
                )
                for i in range(len(candidate.filters))
            ]
            (best,) = self.fit(self.fit(shorter, SEARCH), FINISH)
            if best.cost >= candidate.cost:
                break
            candidate = best
        return candidate

    def fit(self, candidates: Sequence[_Candidate], effort: _Effort) -> list[_Candidate]:
        """The best of some sequences, all of one length, with jointly refined parameters, best first."""
        before, lab = self.before[..., : effort.pixels], self.lab[..., : effort.pixels]
        filters = torch.tensor([candidate.filters for candidate in candidates], dtype=torch.int64)
        actions = torch.stack([candidate.actions for candidate in candidates]).requires_grad_()
        optimizer = torch.optim.Adam([actions], lr=effort.learning_rate, betas=(0.8, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, effort.steps)
        best = actions.detach().clone()
        least = torch.full((len(candidates),), math.inf)
        for step in range(effort.steps + 1):
            difference = self._difference(before, lab, filters, actions)
            error = difference.detach().mean(dim=1)
            better = error < least
            least = torch.where(better, error, least)
            best[better] = actions.detach()[better]
            if step == effort.steps or not candidates[0].filters:
                break
            optimizer.zero_grad()
            # Squared where small, so that it settles; linear where large, so that no pixel rules.
            (difference.square() + 1.0).sqrt().mean(dim=1).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                actions.clamp_(-1.0, 1.0)
        fitted = [
            replace(candidate, actions=row, error=value)
            for candidate, row, value in zip(candidates, best, least.tolist(), strict=True)
        ]
        return sorted(fitted, key=lambda candidate: candidate.error)[: effort.kept]

    def _difference(self, before: Tensor, lab: Tensor, filters: Tensor, actions: Tensor) -> Tensor:
        """``(C, N)``: the difference in CIELAB of each candidate's result, pixel by pixel."""
        image = before.expand(len(filters), -1, -1, -1)
        for step in range(filters.shape[1]):
            image = self.game.apply_chosen(image, filters[:, step], actions[:, step] * self.reach)
        # A file holds no more than 0 to 1.
        squares = (srgb_to_lab(image.clamp(0.0, 1.0)) - lab).square().sum(dim=1)
        difference: Tensor = (squares + 1e-6).sqrt()[:, 0]
        return difference

    def recipe(self, candidate: _Candidate) -> Recipe:
        """What a person can read."""
        edits = self.game.edits(torch.tensor(candidate.filters, dtype=torch.int64), candidate.actions * self.reach)
        return Recipe(tuple(edits), input_domain="display")

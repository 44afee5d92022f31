"""Trajectory replay: the pool of pictures on their way from the camera to the critic (paper, section 4.3).

A step takes unfinished games out and puts the results back; finished ones stay for the critic to learn from; fresh
photographs fill the gaps (published ``replay_memory.py``).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from exposure_gym.game import GameState, RetouchGame


def _pick(state: GameState, rows: Tensor) -> GameState:
    return GameState(*(part[rows] for part in state))


def _join(first: GameState, second: GameState) -> GameState:
    return GameState(*(torch.cat(pair) for pair in zip(first, second, strict=True)))


class ReplayPool:
    """A fixed number of games at every stage.

    :param game: tells which games are finished.
    :param fresh: gives n new games on fresh photographs.
    :param size: games in the pool.
    :param max_length: a result with this many edits or more is put back only
    :param over_length_keep: with this probability.
    :param state: the games of a saved pool; fresh ones by default.
    """

    def __init__(
        self,
        game: RetouchGame,
        fresh: Callable[[int], GameState],
        size: int = 128,
        max_length: int = 7,
        over_length_keep: float = 0.5,
        state: GameState | None = None,
    ) -> None:
        self.game = game
        self.fresh = fresh
        self.size = size
        self.max_length = max_length
        self.over_length_keep = over_length_keep
        self.state = fresh(size) if state is None else state

    def take_unfinished(self, count: int, rng: np.random.Generator) -> GameState:
        """Take ``count`` unfinished games out, in random order; finished ones met on the way are discarded."""
        order = torch.from_numpy(rng.permutation(len(self.state.step))).to(self.state.step.device)
        self.state = _pick(self.state, order)
        rows = torch.nonzero(~self.game.finished(self.state))[:count, 0]
        taken = _pick(self.state, rows)
        if len(rows) < count:
            self.state = self.fresh(self.size)
            missing = torch.arange(self.size, device=rows.device)
            taken = _join(taken, _pick(self.state, missing[: count - len(rows)]))
            self.state = _pick(self.state, missing[count - len(rows) :])
        else:
            past = torch.arange(int(rows[-1]) + 1, len(order), device=rows.device)
            self.state = _pick(self.state, past)
        return taken

    def put_back(self, state: GameState, rng: np.random.Generator) -> None:
        """Put results back and fill the pool with fresh games."""
        keep = torch.from_numpy(rng.random(len(state.step)) < self.over_length_keep).to(state.step.device)
        kept = _pick(state, (state.step < self.max_length) | keep)
        self.state = GameState(*(part[: self.size] for part in _join(self.state, kept)))
        if len(self.state.step) < self.size:
            self.state = _join(self.state, self.fresh(self.size - len(self.state.step)))

    def num_finished(self) -> int:
        """How many games in the pool are finished."""
        return int(self.game.finished(self.state).sum())

    def sample_finished(self, count: int, rng: np.random.Generator) -> Tensor:
        """``(count, 3, S, S)`` finished pictures, left in the pool; repeated where there are fewer than ``count``."""
        rows = torch.nonzero(self.game.finished(self.state))[:, 0]
        order = torch.from_numpy(rng.permutation(len(rows))).to(rows.device)
        repeated = order.repeat(-(-count // len(rows)))[:count]
        return self.state.image[rows[repeated]]

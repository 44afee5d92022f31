"""The replay pool: no game is lost or played twice."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.agents.exposure.pool import ReplayPool
from exposure_gym.game import GameState, RetouchGame


class Counter:
    """Fresh games whose pictures are their numbers: 0, 1, 2, ..."""

    def __init__(self, game: RetouchGame) -> None:
        self.game = game
        self.given = 0

    def __call__(self, count: int) -> GameState:
        numbers = torch.arange(self.given, self.given + count, dtype=torch.float32)
        self.given += count
        return self.game.start(numbers[:, None, None, None].expand(count, 3, 1, 1))


def numbers(state: GameState) -> list[int]:
    return [int(number) for number in state.image[:, 0, 0, 0]]


def steps(state: GameState) -> dict[int, int]:
    return dict(zip(numbers(state), state.step.tolist(), strict=True))


def played(state: GameState) -> GameState:
    """One edit later; ``filters_used`` goes along, so that rows can't be mixed up."""
    return state._replace(step=state.step + 1, filters_used=state.filters_used + 1.0)


def make_pool(size: int, max_steps: int = 5, max_length: int = 7, keep: float = 0.5) -> ReplayPool:
    game = RetouchGame(max_steps=max_steps)
    return ReplayPool(game, Counter(game), size, max_length, keep)


@given(
    size=st.integers(1, 12),
    share=st.floats(0.01, 1.0),
    max_steps=st.integers(1, 6),
    rounds=st.integers(1, 25),
    seed=st.integers(0, 1000),
)
def test_every_game_is_accounted_for(size: int, share: float, max_steps: int, rounds: int, seed: int) -> None:
    count = max(1, int(size * share))
    pool, rng = make_pool(size, max_steps, max_length=100), np.random.default_rng(seed)
    fresh = pool.fresh
    assert isinstance(fresh, Counter)
    for _ in range(rounds):
        before, given_before = steps(pool.state), fresh.given
        taken = pool.take_unfinished(count, rng)
        assert len(numbers(taken)) == count
        assert not pool.game.finished(taken).any()
        assert not set(numbers(taken)) & set(numbers(pool.state))
        refilled = fresh.given > given_before
        for number, step in steps(taken).items() | steps(pool.state).items():
            assert step == (before[number] if number < given_before else 0)
        gone = set(before) - set(numbers(taken)) - set(numbers(pool.state))
        assert all(before[number] >= max_steps for number in gone)  # only finished games are discarded
        if refilled:
            assert sum(step < max_steps for step in before.values()) < count
            assert len(numbers(taken)) + len(numbers(pool.state)) >= size

        left = steps(pool.state)
        pool.put_back(played(taken), rng)
        after = steps(pool.state)
        assert len(numbers(pool.state)) == len(after) == size
        assert left.items() <= after.items()
        returned = {number: step + 1 for number, step in steps(taken).items()}
        kept = returned.items() & after.items()
        assert len(kept) == min(count, size - len(left))  # all, unless the pool was refilled beneath them
        assert refilled or len(kept) == count
        rest = after.keys() - left.keys() - returned.keys()
        assert all(after[number] == 0 for number in rest)
        assert torch.equal(pool.state.filters_used[:, 0], pool.state.step.float())


def test_finished_games_stay_until_they_are_met() -> None:
    pool, rng = make_pool(10, max_steps=2), np.random.default_rng(0)
    pool.state = pool.state._replace(step=torch.tensor([2, 0] * 5))
    taken = pool.take_unfinished(5, rng)
    assert sorted(numbers(taken)) == [1, 3, 5, 7, 9]
    assert set(numbers(pool.state)) <= {0, 2, 4, 6, 8}
    assert all(step == 2 for step in pool.state.step.tolist())


@given(count=st.integers(1, 30), finished=st.integers(1, 10), seed=st.integers(0, 1000))
def test_finished_pictures_are_drawn_evenly_and_left(count: int, finished: int, seed: int) -> None:
    pool, rng = make_pool(10), np.random.default_rng(seed)
    step = np.zeros(10, np.int64)
    step[rng.permutation(10)[:finished]] = 5
    pool.state = pool.state._replace(step=torch.from_numpy(step))
    assert pool.num_finished() == finished
    before = steps(pool.state)
    drawn = [int(number) for number in pool.sample_finished(count, rng)[:, 0, 0, 0]]
    assert len(drawn) == count
    times = np.bincount(drawn, minlength=10)
    assert not times[step < 5].any()
    assert np.ptp(times[step == 5]) <= 1  # none comes twice before all have come once
    assert steps(pool.state) == before


def test_over_long_games_are_kept_with_a_probability() -> None:
    def kept(keep: float) -> int:
        pool, rng = make_pool(200, max_steps=100, max_length=3, keep=keep), np.random.default_rng(0)
        taken = pool.take_unfinished(200, rng)
        taken = taken._replace(step=torch.tensor([2, 3, 4, 9] * 50))
        pool.put_back(taken, rng)
        step = pool.state.step
        assert int((step == 2).sum()) == 50  # shorter ones always
        assert int((step == 0).sum()) == 200 - 50 - int((step >= 3).sum())
        return int((step >= 3).sum())

    assert kept(0.0) == 0
    assert kept(1.0) == 150
    assert 55 <= kept(0.5) <= 95


@given(seed=st.integers(0, 1000))
def test_one_generator_gives_one_order(seed: int) -> None:
    def run() -> list[list[int]]:
        pool, rng = make_pool(9, max_steps=2, max_length=2), np.random.default_rng(seed)
        seen = []
        for _ in range(6):
            taken = pool.take_unfinished(4, rng)
            pool.put_back(played(taken), rng)
            seen += [numbers(taken), numbers(pool.state)]
            if pool.num_finished():
                seen.append(pool.sample_finished(3, rng)[:, 0, 0, 0].int().tolist())
        return seen

    assert run() == run()

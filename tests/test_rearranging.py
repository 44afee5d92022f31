"""Pictures rearranged before the critic: pixels move, values stay, and what is judged is the same on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_exposure_agent import tiny_agent
from torch import Tensor

from exposure_gym.agents.exposure import agent as agent_module
from exposure_gym.agents.exposure.losses import actor_losses
from exposure_gym.agents.exposure.rearranging import arrangements, rearrange
from exposure_gym.critic import critic_step, picture_statistics


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 10_000), tiles=st.sampled_from([1, 2, 4, 8, 16]))
def test_pixels_move_and_values_stay(seed: int, tiles: int) -> None:
    images = torch.rand(3, 3, 16, 16, generator=generator(1))
    arrangement = arrangements(3, 16, tiles, generator(seed))
    assert torch.equal(arrangement.sort(dim=1).values, torch.arange(256).expand(3, -1))
    moved = rearrange(images, arrangement)
    # a pixel's three values stay together, and so the statistics that the critic is given are the same
    for before, after in zip(images.flatten(2), moved.flatten(2), strict=True):
        assert {tuple(pixel) for pixel in before.T.tolist()} == {tuple(pixel) for pixel in after.T.tolist()}
    torch.testing.assert_close(picture_statistics(moved), picture_statistics(images))


def test_tiles_stay_whole() -> None:
    """Of a picture whose tiles have a colour each, every tile of the result has one colour."""
    tiles = torch.arange(16.0).view(1, 1, 4, 4)
    image = tiles.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    moved = rearrange(image, arrangements(1, 16, 4, generator())).view(4, 4, 4, 4)
    assert torch.equal(moved.amax(dim=(1, 3)), moved.amin(dim=(1, 3)))
    assert not torch.equal(moved[:, 0, :, 0], tiles[0, 0])


def test_one_tile_is_mirrored_and_turned_only() -> None:
    """All eight symmetries of the square come, each about as often, and nothing else."""
    square = torch.arange(16).view(4, 4)
    symmetries = {
        tuple(turned.flatten().tolist())
        for one in (square, square.flip(1))
        for turned in (torch.rot90(one, k) for k in range(4))
    }
    drawn = [tuple(row) for row in arrangements(800, 4, 1, generator()).tolist()]
    assert set(drawn) == symmetries
    assert all(60 <= drawn.count(symmetry) <= 140 for symmetry in symmetries)  # 100 ± 4 deviations


def test_none_leaves_pictures_as_they_are() -> None:
    images = torch.rand(2, 3, 8, 8, generator=generator())
    assert rearrange(images, None) is images


def test_gradients_come_back_to_their_pixels() -> None:
    images = torch.rand(2, 3, 8, 8, generator=generator(), requires_grad=True)
    weights = torch.rand(2, 3, 8, 8, generator=generator(1))
    arrangement = arrangements(2, 8, 4, generator(2))
    (slope,) = torch.autograd.grad((rearrange(images, arrangement) * weights).sum(), images)
    assert torch.equal(rearrange(slope, arrangement), weights)


def test_agent_shows_its_critic_both_sides_rearranged_and_each_edit_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = tiny_agent(critic_tiles=8)
    agent.learn(0)
    seen: list[Tensor] = []
    forward = agent.policy.critic.forward
    shown: dict[str, Any] = {}

    def judge(image: Tensor) -> Tensor:
        seen.append(image.detach())
        return forward(image)

    monkeypatch.setattr(agent.policy.critic, "forward", judge)

    def losses(*args: Any, **kwargs: Any) -> Any:
        shown["before"] = args[4].image.clone()
        shown["losses"] = actor_losses(*args, **kwargs)
        return shown["losses"]

    def step(critic: Any, optimizer: Any, finished: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Any:
        shown["finished"], shown["target"] = finished, target
        return critic_step(critic, optimizer, finished, target, *args, **kwargs)

    monkeypatch.setattr(agent_module, "actor_losses", losses)
    monkeypatch.setattr(agent_module, "critic_step", step)
    agent._actor_step(0.0)
    after, before = seen
    moves = [
        [np.flatnonzero((a == pixel[:, None]).all(dim=0).numpy()) for pixel in b.T]
        for a, b in zip(shown["before"].flatten(2), before.flatten(2), strict=True)
    ]
    for move, edited, judged in zip(
        moves, shown["losses"].transition.state.image.detach().flatten(2), after.flatten(2), strict=True
    ):
        source = [int(places[0]) for places in move if len(places) == 1]
        there = [i for i, places in enumerate(move) if len(places) == 1]
        assert torch.equal(edited[:, source], judged[:, there])
    assert agent.pool is not None
    for owner, name, side in ((agent.pool, "sample_finished", "finished"), (agent.targets, "sample", "target")):
        draw = getattr(owner, name)

        def drawing(*args: Any, draw: Any = draw, side: str = side) -> Tensor:
            shown[f"drawn {side}"] = draw(*args)
            return shown[f"drawn {side}"]  # type: ignore[no-any-return]

        monkeypatch.setattr(owner, name, drawing)
    agent._critic_step()
    for side in ("finished", "target"):
        drawn, judged = shown[f"drawn {side}"].flatten(2), shown[side].flatten(2)
        assert torch.equal(drawn.sort(dim=2).values, judged.sort(dim=2).values)
        assert not any(torch.equal(a, b) for a, b in zip(drawn, judged, strict=True))


def test_without_tiles_no_random_number_is_drawn() -> None:
    """The published loop stays as it is to the bit."""
    agent = tiny_agent()
    state = agent.noise.get_state()
    assert agent._arrangement() is None
    assert torch.equal(agent.noise.get_state(), state)

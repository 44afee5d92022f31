"""Scripted players: nothing changes nothing, and the automatic correction does what it says, in any game."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exposure_gym.agents.scripted import auto_levels_player, gradient_player, greedy_player, identity_player
from exposure_gym.color import luminance
from exposure_gym.evaluation import Player, play
from exposure_gym.filters import filters_by_name
from exposure_gym.game import RetouchGame


def pictures(light: float = 0.05) -> torch.Tensor:
    """Smooth yellowish pictures of different darkness."""
    values = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)) + 0.5
    return light * values * torch.tensor([1.1, 1.0, 0.8])[:, None, None] * torch.arange(1.0, 5.0)[:, None, None, None]


@pytest.mark.parametrize("max_steps", [1, 5, 8])
def test_identity_changes_nothing_and_repeats_no_filter(max_steps: int) -> None:
    game = RetouchGame(max_steps=max_steps)
    image = pictures()
    episode = play(game, image, identity_player(game))
    torch.testing.assert_close(episode.images[-1], image, atol=1e-4, rtol=1e-4)
    assert float(episode.penalty.max()) == 0.0


def test_identity_stops_where_it_may() -> None:
    game = RetouchGame(stop_action=True)
    index, _ = identity_player(game)(game.start(pictures()))
    assert index.tolist() == [8] * 4
    assert bool(
        game.transition(game.start(pictures()), *identity_player(game)(game.start(pictures()))).terminated.all()
    )


def test_auto_levels_meters_balances_and_encodes() -> None:
    game = RetouchGame()
    images = play(game, pictures(), auto_levels_player(game)).images
    torch.testing.assert_close(luminance(images[1]).mean(dim=(1, 2, 3)), torch.full((4,), 0.18))
    means = images[2].mean(dim=(2, 3))
    assert float((means.amax(1) / means.amin(1)).max()) < 1.01
    torch.testing.assert_close(images[3], images[2].clamp(min=0.001) ** (1 / 2.2))
    light = [luminance(image).flatten(1) for image in images]
    assert bool((light[4].std(dim=1) > light[3].std(dim=1)).all())  # stretched
    torch.testing.assert_close(images[5], images[4], atol=1e-5, rtol=1e-5)


def test_auto_levels_of_display_values_have_no_gamma() -> None:
    game = RetouchGame()
    player = auto_levels_player(game, "display")
    state = game.start(pictures(0.2))
    used = []
    for _ in range(game.max_steps):
        index, parameters = player(state)
        used.append(game.filters[int(index[0])].name)
        state = game.transition(state, index, parameters).state
    assert used[:3] == ["exposure", "white_balance", "tone"]
    assert len(set(used)) == 5
    first = play(RetouchGame(max_steps=1), pictures(0.2), player).images[-1]
    torch.testing.assert_close(luminance(first).mean(dim=(1, 2, 3)), torch.full((4,), 0.18 ** (1 / 2.2)))


def test_players_work_on_games_at_different_steps_and_with_any_filters() -> None:
    game = RetouchGame(filters_by_name(["tone", "exposure"]), max_steps=3)
    player = auto_levels_player(game)
    state = game.start(pictures())._replace(step=torch.tensor([0, 1, 2, 0]))
    index, parameters = player(state)
    assert [game.filters[i].name for i in index.tolist()] == ["exposure", "tone", "exposure", "exposure"]
    assert parameters.shape == (4, 9)
    assert float(parameters.abs().max()) <= 1.0
    black = play(game, torch.zeros(1, 3, 8, 8), player).images[-1]
    np.testing.assert_array_equal(np.isfinite(black.numpy()), True)


# -- those that search -------------------------------------------------------------------------------------------------


def brightness(image: torch.Tensor) -> torch.Tensor:
    """A reward with a known best: a mean luminance of 0.5."""
    distance: torch.Tensor = (luminance(image).mean(dim=(1, 2, 3)) - 0.5).abs()
    return -distance


def gained(game: RetouchGame, player: Player) -> torch.Tensor:
    episode = play(game, pictures(), player)
    return brightness(episode.images[-1]) - brightness(episode.images[0]) - episode.penalty


def noise() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_greedy_takes_the_best_of_what_it_tries() -> None:
    game = RetouchGame(max_steps=3)
    one, many = (gained(game, greedy_player(game, brightness, noise(), samples=n)) for n in (1, 8))
    assert float(one.abs().max()) < 1e-3  # neutral parameters alone: nothing changes, no filter comes twice
    assert bool((many > 0.05).all())
    torch.testing.assert_close(many, gained(game, greedy_player(game, brightness, noise(), samples=8)))
    with pytest.raises(ValueError, match="samples 0"):
        greedy_player(game, brightness, noise(), samples=0)


def test_gradient_follows_the_reward_through_the_game() -> None:
    game = RetouchGame(max_steps=3)
    few, many = (gained(game, gradient_player(game, brightness, noise(), steps=n)) for n in (0, 30))
    assert bool((many >= few - 1e-5).all())
    assert float(many.mean()) > float(few.mean()) + 0.1
    best = gained(game, gradient_player(game, brightness, noise(), steps=30, plans=3))
    assert bool((best >= many - 1e-5).all())  # the first of the three plans is the one before


def test_gradient_plans_whole_games() -> None:
    game = RetouchGame(max_steps=2)
    player = gradient_player(game, brightness, noise(), steps=1)
    with pytest.raises(ValueError, match="from the start"):
        player(game.start(pictures())._replace(step=torch.ones(4, dtype=torch.int64)))
    with pytest.raises(ValueError, match="plans 0"):
        gradient_player(game, brightness, noise(), plans=0)

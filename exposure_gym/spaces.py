"""The spaces of the game, shared by environments and agents."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from exposure_gym.game import RetouchGame


def observation_space(game: RetouchGame, image_size: int) -> spaces.Dict:
    """What a player sees: ``image`` (S, S, 3) float32 in [0, image_limit], ``filters_used``, ``step``."""
    limit = np.inf if game.image_limit is None else game.image_limit
    return spaces.Dict(
        image=spaces.Box(0.0, limit, (image_size, image_size, 3), np.float32),
        filters_used=spaces.MultiBinary(len(game.filters)),
        step=spaces.Discrete(game.max_steps + 1),
    )


def action_space(game: RetouchGame) -> spaces.Dict:
    """What a player does: choose a ``filter`` (or to stop), and set ``parameters`` in [-1, 1] for all of them."""
    return spaces.Dict(
        filter=spaces.Discrete(game.num_choices),
        parameters=spaces.Box(-1.0, 1.0, (game.num_parameters,), np.float32),
    )

"""What an agent decided for a photograph, and how sure it was."""

from __future__ import annotations

from typing import NamedTuple

from exposure_gym.recipe import Recipe


class Decision(NamedTuple):
    """A whole episode."""

    recipe: Recipe
    probabilities: tuple[dict[str, float], ...]
    """For each edit, the chance that the policy gave each filter, by name; they add up to 1."""

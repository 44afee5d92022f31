"""exposure-gym: photo retouching as a game for reinforcement learning, after Hu et al. 2018.

Importing the package registers its environments with Gymnasium. Heavy libraries are imported when they are needed.
"""

from __future__ import annotations

from exposure_gym._registration import register_with_gymnasium

__version__ = "0.1.0"

register_with_gymnasium()

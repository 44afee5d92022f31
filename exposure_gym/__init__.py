"""exposure-gym: photo retouching as a game for reinforcement learning, after Hu et al. 2018.

Importing the package registers its environments with Gymnasium. Heavy libraries are imported when they are needed.
"""

from __future__ import annotations

import gymnasium

__version__ = "0.1.0"

for _form in ("", "Box", "Discrete"):
    if f"PhotoRetouch{_form}-v0" not in gymnasium.registry:
        gymnasium.register(
            id=f"PhotoRetouch{_form}-v0",
            entry_point=f"exposure_gym.envs:PhotoRetouch{_form}Env",
            vector_entry_point=f"exposure_gym.envs:PhotoRetouch{_form}VectorEnv",
        )

"""What the tests of the command share: running it, photographs to give it, a training that takes a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from exposure_gym.cli import app
from exposure_gym.photo import DisplayPhoto, write_display

TINY: dict[str, Any] = {
    "batch_size": 8,
    "critic_updates": 2,
    "critic_burst": 3,
    "burst_iterations": 2,
    "burst_every": 5,
    "warmup_rollouts": 8,
    "pool_size": 16,
    "policy_kwargs": {"base_channels": 4, "features": 64, "hidden": 8},
}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_tiny_preset(path: Path, iterations: int) -> None:
    """``TINY`` as the file of a preset."""
    agent, networks = dict(TINY), TINY["policy_kwargs"]
    del agent["policy_kwargs"]
    lines = [f"iterations = {iterations}", "[agent]", *(f"{k} = {v}" for k, v in agent.items())]
    lines += ["[agent.policy_kwargs]", *(f"{k} = {v}" for k, v in networks.items())]
    path.write_text("\n".join(lines))


def photograph(path: Path, seed: int, bits: Any = None, size: tuple[int, int] = (90, 120)) -> Path:
    """Something smooth and coloured, in the format of the name."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    waves = [np.sin(rng.uniform(2, 9) * x + rng.uniform(2, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    path.parent.mkdir(exist_ok=True)
    write_display(path, DisplayPhoto((0.5 + 0.4 * np.stack(waves, 2)).astype(np.float32)), bits=bits)
    return path

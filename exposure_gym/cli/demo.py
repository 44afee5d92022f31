"""``exposure-gym demo``: the shipped agent on photographs that come with the package."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exposure_gym.cli.messages import fail, make_folder, progress_bar, valid_seed
from exposure_gym.cli.models import load_agent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.table import Table

    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.recipe import Recipe

SCENES = 3
SCENE_SIZE = 256
RANDOM_GAMES = 32
"""Games whose mean stands for the random policy."""


@dataclass(frozen=True)
class Rewards:
    """Of one photo."""

    agent: float
    random: float


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the results; made if need be.")
    ] = Path("demo"),
    seed: Annotated[
        int,
        typer.Option(
            callback=valid_seed, metavar="S", help="Of how dark and off-colour the photos are, and of the scenes."
        ),
    ] = 0,
) -> None:
    """Retouch a few built-in photographs: nothing to download, nothing to configure.

    They are made dark and off-colour, as a camera records them, and the agent finishes them. The folder gets each
    finished photo, its recipe and a strip of its steps, and strips.png with all of them. The table compares what the
    critic, which learned to tell finished photos from others, thinks of the agent's edits, of random ones and of none.
    """
    from rich.console import Console

    from exposure_gym.photo import DisplayPhoto, write_display
    from exposure_gym.viz import contact_sheet, steps_figure, write_png

    agent = load_agent(None)
    make_folder(output)
    photos = _photos(seed)
    rewards = _rewards(agent, list(photos.values()), seed)
    recipes, strips = [], []
    with progress_bar() as bar:
        for name, pixels in bar.track(photos.items(), description="retouching"):
            recipe = replace(agent.retouch(pixels), source=name)
            write_display(output / f"{name}.png", DisplayPhoto(recipe.apply_photo(pixels)))
            write_png(output / f"{name}.steps.png", steps_figure(recipe, pixels))
            recipe.save(output / f"{name}.recipe.json")
            recipes.append(recipe)
            strips.append(steps_figure(recipe, _three_to_two(pixels)))
    write_png(output / "strips.png", contact_sheet(strips, columns=1))
    Console().print(_table(list(photos), recipes, rewards))
    typer.echo(f"The pictures are in {output}: look at {output / 'strips.png'} first.")


def _photos(seed: int) -> dict[str, NDArray[np.float32]]:
    """The sample photographs and a few generated scenes: linear light, by name."""
    import numpy as np

    from exposure_gym.data import generate_scene, sample_photos

    try:
        photos = sample_photos(seed)
    except FileNotFoundError as error:
        fail(str(error))
    rng = np.random.default_rng(seed)
    return photos | {f"scene-{i}": generate_scene(rng, SCENE_SIZE).linear for i in range(1, SCENES + 1)}


def _three_to_two(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The middle of a photo in the shape of a film frame, so that the strips line up."""
    height, width = min(pixels.shape[0], pixels.shape[1] * 2 // 3), min(pixels.shape[1], pixels.shape[0] * 3 // 2)
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _rewards(agent: ExposureAgent, photos: list[NDArray[np.float32]], seed: int) -> list[Rewards]:
    """What the critic that ships gives the agent, and random play on the mean, for each photo."""
    import numpy as np
    import torch

    from exposure_gym.evaluation import agent_player, episode_reward, play, random_player
    from exposure_gym.photo import to_square
    from exposure_gym.rewards import CriticReward

    try:
        critic = CriticReward()
    except ValueError as error:
        fail(str(error))
    size = critic.critic.image_size
    views = torch.from_numpy(np.stack([to_square(pixels, size).transpose(2, 0, 1) for pixels in photos]))
    played = episode_reward(critic, play(agent.game, views, agent_player(agent, seed=None)))
    player = random_player(agent.game, torch.Generator().manual_seed(seed))
    by_chance = episode_reward(critic, play(agent.game, views.repeat(RANDOM_GAMES, 1, 1, 1), player))
    means = by_chance.reshape(RANDOM_GAMES, -1).mean(dim=0)
    return [Rewards(*pair) for pair in zip(played.tolist(), means.tolist(), strict=True)]


def _table(names: list[str], recipes: list[Recipe], rewards: list[Rewards]) -> Table:
    from rich.table import Table

    table = Table("photo", "edit", title="What the agent did, and the critic's reward for it", title_justify="left")
    for player in ("agent", "random", "nothing"):
        table.add_column(player, justify="right")
    for name, recipe, reward in zip(names, recipes, rewards, strict=True):
        table.add_row(name, in_short(recipe), f"{reward.agent:+.2f}", f"{reward.random:+.2f}", "0.00")
    return table


def in_short(recipe: Recipe) -> str:
    """The edit in words without what stands in parentheses: ``"exposure +1.3 EV, tone curve"``."""
    return re.sub(r" \([^()]*\)", "", recipe.describe())

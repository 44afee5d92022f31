"""Draws the GIF of an episode: the photograph, the edits with what each earned, and the action as it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from exposure_gym.agents import ExposureAgent
from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.envs.actions import HybridActions
from exposure_gym.files import replacing
from exposure_gym.photo import to_square
from exposure_gym.recipe import Edit
from exposure_gym.rewards import WEIGHTS
from exposure_gym.viz import (
    ACCENT,
    BRIGHT,
    FAINT,
    HAIRLINE,
    SURROUND,
    TEXT,
    Colour,
    Rgb8,
    Style,
    caption,
    draw_text,
    glyph,
    to_rgb8,
    wrap,
)

PICTURE, PANEL, MARGIN = 336, 328, 16
LEFT, BOTTOM = 2 * MARGIN + PICTURE, MARGIN + PICTURE
ROW, GLYPH, LINES = 52, 40, 3
"""Height of an edit's row, side of its glyph, and lines of its caption."""
STYLE = Style.of(176)

HOLD, BLEND, END = 1500, 90, 4000
"""Milliseconds that a step, the blend between two, and the end are shown."""
PHOTO_COLOURS, PANEL_COLOURS = 208, 48
"""A frame has 256: the panel's are its own, so that a photograph does not tint the text."""
BLEND_COLOURS = 64
"""Enough for a photograph that is seen for a moment; it halves its bytes."""


@dataclass
class Step:
    """One edit of an episode."""

    edit: Edit
    reward: float
    action: str
    """In words, as the environment's action space has it,"""
    bars: NDArray[np.float32]
    """and as numbers in [-1, 1]."""
    picture: Rgb8
    """After the edit."""


Player = Callable[[gym.Env[Any, Any], dict[str, Any]], Any]
"""Chooses an action of an environment that has just given an observation."""


def agent_player() -> Player:
    """The shipped agent, whose edits are sent as the actions that the environment has for them."""
    agent = ExposureAgent.load(WEIGHTS, device="cpu")

    def player(env: gym.Env[Any, Any], observation: dict[str, Any]) -> Any:
        base = unwrapped(env)
        choice = agent.predict(observation, deterministic=True)[0]
        return base.action_from_edit(HybridActions(base.game).edit_from_action(choice))

    return player


def greedy_player(photo: NDArray[np.float32]) -> Player:
    """Tries all actions side by side and takes the one that earns most; for choices from a menu.

    :param photo: that is played on.
    """

    def player(env: gym.Env[Any, Any], _: dict[str, Any]) -> Any:
        base, count = unwrapped(env), int(env.action_space.n)  # type: ignore[attr-defined]
        trial = gym.make_vec(base.spec.id, num_envs=count)  # type: ignore[union-attr]
        trial.reset(options={"photo": photo})
        for edit in base.recipe.edits:
            trial.step(np.full(count, base.action_from_edit(edit)))
        return trial.step(np.arange(count))[1].argmax()

    return player


def play(env: gym.Env[Any, Any], photo: NDArray[np.float32], player: Player) -> list[Step]:
    """One episode on a photograph, ``(H, W, 3)`` linear light."""
    square = to_square(photo, PICTURE)
    steps: list[Step] = []
    observation, _ = env.reset(options={"photo": photo})
    over = False
    while not over:
        action = player(env, observation)
        observation, reward, over, _, _ = env.step(action)
        recipe = unwrapped(env).recipe
        told = in_words(env.action_space, action), as_bars(env.action_space, action)
        steps.append(Step(recipe.edits[-1], float(reward), *told, to_rgb8(recipe.apply_photo(square))))
    return steps


def unwrapped(env: gym.Env[Any, Any]) -> PhotoRetouchEnv:
    """The environment without its wrappers."""
    base = env.unwrapped
    assert isinstance(base, PhotoRetouchEnv)
    return base


def in_words(space: gym.Space[Any], action: Any) -> str:
    """What an action is made of."""
    if isinstance(space, gym.spaces.Dict):
        return f"action: filter {action['filter']}, {len(action['parameters'])} parameters"
    if isinstance(space, gym.spaces.Discrete):
        return f"action: {action} of {space.n}"
    return f"action: {len(action)} numbers"


def as_bars(space: gym.Space[Any], action: Any) -> NDArray[np.float32]:
    """An action as numbers in [-1, 1], a choice being 1 among zeros."""
    bars: NDArray[np.float32] = np.asarray(gym.spaces.flatten(space, action), np.float32)
    return bars


def write_gif(path: Path, id: str, photo: NDArray[np.float32]) -> None:
    """Write an episode as a GIF that repeats: of the shipped agent, or where there is a menu of the greedy player.

    :param photo: ``(H, W, 3)`` linear light.
    """
    env = gym.make(id)
    discrete = isinstance(env.action_space, gym.spaces.Discrete)
    steps = play(env, photo, greedy_player(photo) if discrete else agent_player())
    picture = to_rgb8(to_square(photo, PICTURE))
    frames, durations = [frame(id, [], picture)], [HOLD]
    for made, step in enumerate(steps, 1):
        between = np.rint((picture.astype(np.float32) + step.picture) / 2).astype(np.uint8)
        picture = step.picture
        frames += [frame(id, steps[:made], between, BLEND_COLOURS), frame(id, steps[:made], picture)]
        durations += [BLEND, HOLD]
    durations[-1] = END
    with replacing(path) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def frame(id: str, steps: list[Step], picture: Rgb8, colours: int = PHOTO_COLOURS) -> Image.Image:
    """The state after these steps, with 256 colours."""
    canvas = Image.new("RGB", (LEFT + PANEL + MARGIN, BOTTOM + MARGIN), SURROUND)
    draw_panel(canvas, id, steps)
    panel, photo = canvas.quantize(PANEL_COLOURS), Image.fromarray(picture).quantize(colours)
    codes = np.asarray(panel).copy()
    codes[MARGIN:BOTTOM, MARGIN : MARGIN + PICTURE] = PANEL_COLOURS + np.asarray(photo)
    coded = Image.fromarray(codes, "P")
    palettes = [image.getpalette() or [] for image in (panel, photo)]
    coded.putpalette((palettes[0] + [0] * 3 * PANEL_COLOURS)[: 3 * PANEL_COLOURS] + palettes[1])
    return coded


def draw_panel(canvas: Image.Image, id: str, steps: list[Step]) -> None:
    """The edits with their rewards, and below them the last action and the sum."""
    pen = ImageDraw.Draw(canvas)
    draw_text(pen, (LEFT, MARGIN - 3), id, STYLE.name, BRIGHT)
    draw_right(pen, MARGIN - 2, "reward", FAINT)
    for i, step in enumerate(steps):
        top = MARGIN + 24 + i * ROW
        canvas.paste(glyph(step.edit, GLYPH), (LEFT, top))
        draw_right(pen, top, signed(step.reward), ACCENT if step is steps[-1] else TEXT)
        lines = wrap(caption(step.edit), PANEL - GLYPH - 56, STYLE)
        for number, line in enumerate(lines[:LINES], 1):
            text = line.text + " ..." if number == LINES < len(lines) else line.text
            draw_text(pen, (LEFT + GLYPH + 10, top - 2), text, line.font, line.colour)
            top += line.height - 2
    top = MARGIN + 24 + 5 * ROW
    pen.line((LEFT, top, LEFT + PANEL, top), fill=HAIRLINE)
    draw_text(pen, (LEFT, top + 4), steps[-1].action if steps else "linear light, as recorded", STYLE.small, FAINT)
    if steps:
        draw_right(pen, top + 4, f"sum {signed(sum(step.reward for step in steps))}", BRIGHT)
        draw_bars(pen, top + 24, steps[-1].bars)


def draw_bars(pen: ImageDraw.ImageDraw, top: int, values: NDArray[np.float32]) -> None:
    """Numbers in [-1, 1] side by side, from ``top`` to the bottom: a tick for each, and a bar if it is not 0."""
    step = PANEL / len(values)
    middle, height = (top + BOTTOM) / 2, (BOTTOM - top) / 2
    for i, value in enumerate(values.tolist()):
        left, right = LEFT + round(i * step), LEFT + round((i + 1) * step) - 3
        pen.line((left, middle, right, middle), fill=HAIRLINE)
        if value:
            low, high = sorted((middle, middle - value * height))
            pen.rectangle((left, low, right, high), fill=ACCENT)


def draw_right(pen: ImageDraw.ImageDraw, y: float, text: str, colour: Colour) -> None:
    """Small text that ends at the panel's right edge."""
    width = STYLE.small.getlength(text.replace("−", "+"))
    draw_text(pen, (LEFT + PANEL - width, y), text, STYLE.small, colour)


def signed(value: float) -> str:
    """With two digits, a sign and a true minus; never minus nothing."""
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")

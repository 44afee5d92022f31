"""An edit step by step: the photograph, each step's result, what it did and how sure the agent was."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

from numpy.typing import NDArray

from exposure_gym.color import TO_SRGB, Space, srgb_decode, srgb_encode
from exposure_gym.recipe import Edit, Recipe
from exposure_gym.recipe_words import label
from exposure_gym.viz.drawing import Drawing
from exposure_gym.viz.glyphs import draw_glyph
from exposure_gym.viz.pictures import Rgb8, shrink, to_rgb8, write_png
from exposure_gym.viz.style import ACCENT, BRIGHT, FAINT, HAIRLINE, TEXT, Style, caption, wrap
from exposure_gym.viz.svg import write_svg

PREVIEW = 640
"""Long edge of the frames that :func:`steps_figure` computes, in pixels: those of an SVG can be looked at closely."""

P = ParamSpec("P")


def _painted(layout: Callable[P, Drawing]) -> Callable[P, Rgb8]:
    """The same figure in pixels: ``(h, w, 3)`` uint8 sRGB."""

    @wraps(layout)
    def figure(*args: P.args, **kwargs: P.kwargs) -> Rgb8:
        return layout(*args, **kwargs).to_rgb8()

    return figure


def strip_drawing(
    frames: Sequence[NDArray[Any]],
    captions: Sequence[str],
    *,
    edits: Sequence[Edit] | None = None,
    probabilities: Sequence[Mapping[str, float]] | None = None,
    before: str = "linear light, as recorded",
    wanted: NDArray[Any] | None = None,
    height: int = 192,
) -> Drawing:
    """One episode as a strip: the input, then each step with what it did, the last one "after".

    :func:`film_strip` takes the same and paints it, ``(h, w, 3)`` uint8 sRGB.

    :param frames: n + 1 pictures ``(H, W, 3)`` of floats, all alike in size: the linear input and
        the result of each step. Values are shown as they are, clipped to [0, 1].
    :param captions: n texts, one a step: a name, and after a line break what the step did.
    :param edits: the n edits; each is then drawn as a small curve or swatch too.
    :param probabilities: n times the chance of each filter, by name (``Decision.probabilities``); drawn as a row of
        bars for each filter. With ``edits``, the chosen filter's is bright and written out.
    :param before: what the input is.
    :param wanted: what the last frame should have become, a picture like the frames; shown after it.
    :param height: of the pictures, in pixels; other frames are resampled to it.
    :raises ValueError: the lists do not fit together, or the frames are not alike.
    """
    if not frames or len(captions) != len(frames) - 1:
        raise ValueError(f"{len(frames)} frames need {max(len(frames) - 1, 0)} captions, one a step")
    for name, list_ in (("edits", edits), ("probabilities", probabilities)):
        if list_ is not None and len(list_) != len(captions):
            raise ValueError(f"{len(captions)} steps need as many {name}, not {len(list_)}")
    pictures = [to_rgb8(frame) for frame in (frames if wanted is None else [*frames, wanted])]
    if len({picture.shape for picture in pictures}) > 1:
        raise ValueError("the frames of a strip must all have the same shape")

    style = Style.of(height)
    picture_width = max(1, round(pictures[0].shape[1] * height / pictures[0].shape[0]))
    width = max(picture_width, style.px(184))  # room for words under a portrait
    texts = [f"before\n{before}", *captions, *(["wanted"] if wanted is not None else [])]
    indent = style.px(54) if edits is not None else 0
    blocks = [wrap(text, width - (indent if i else 0), style) for i, text in enumerate(texts)]
    text_height = max(sum(line.height for line in block) for block in blocks)
    below = max(text_height, style.px(44) if edits is not None else 0)
    filters = list(dict.fromkeys(name for chances in probabilities or () for name in chances))
    table = style.px(36) + len(filters) * style.px(ROW) if filters else 0

    margin, gutter, header = style.px(20), style.px(30), style.px(24)
    top = margin + header
    caption_top = top + height + style.px(12)
    drawing = Drawing(
        2 * margin + len(pictures) * width + (len(pictures) - 1) * gutter, caption_top + below + table + margin
    )
    for i, (picture, block) in enumerate(zip(pictures, blocks, strict=True)):
        left = margin + i * (width + gutter)
        drawing.picture((left, top), picture, (picture_width, height))
        last = i == len(frames) - 1
        step = 0 < i < len(frames)
        head = str(i) if step else ""
        if last and step:
            head += "  after"
        drawing.text((left, margin), head, style.small, BRIGHT if last else FAINT)
        if step:
            draw_chevron(drawing, left - (gutter + width - picture_width) / 2, top + height / 2, style)
        if step and edits is not None:
            draw_glyph(drawing, edits[i - 1], (left, caption_top), style.px(44))
        y = caption_top
        for line in block:
            drawing.text((left + (indent if step else 0), y), line.text, line.font, line.colour)
            y += line.height
        rows_top = caption_top + below + style.px(36)
        if filters and i == 0:
            drawing.text((left, rows_top - style.px(20)), "chance of each filter", style.small, FAINT)
            for row, name in enumerate(filters):
                drawing.text((left, rows_top + row * style.px(ROW)), label(name), style.small, TEXT)
        if step and probabilities is not None:
            chosen = None if edits is None else edits[i - 1].filter
            chances = [(probabilities[i - 1].get(name, 0.0), name == chosen) for name in filters]
            _draw_chances(drawing, (left, rows_top), width, chances, style)
    return drawing


film_strip = _painted(strip_drawing)

ROW = 17
"""Height of a filter's row in the table of chances, for pictures of 192 pixels."""


def steps_drawing(
    recipe: Recipe,
    pixels: NDArray[Any],
    *,
    probabilities: Sequence[Mapping[str, float]] | None = None,
    wanted: NDArray[Any] | None = None,
    height: int = 192,
) -> Drawing:
    """How a recipe changes a photograph, step by step, on a small preview.

    :func:`steps_figure` takes the same and paints it, ``(h, w, 3)`` uint8 sRGB; :func:`write_steps` makes a file of it.

    :param recipe: the edits.
    :param pixels: ``(H, W, 3)`` float, any size: what the recipe takes, linear light in its working space or display
        values.
    :param probabilities: as for :func:`strip_drawing`.
    :param wanted: what should come out, display values, of the shape of ``pixels``; shown at the end.
    :param height: of the pictures in the strip, in pixels.
    :return: the :func:`strip_drawing` of it.
    """
    frames = [shrink(pixels, PREVIEW)]
    for edit in recipe:
        frames.append(Recipe((edit,), recipe.working_space).apply_photo(frames[-1]))
    return strip_drawing(
        with_srgb_primaries(frames, recipe.working_space),
        [caption(edit) for edit in recipe],
        edits=recipe.edits,
        probabilities=probabilities,
        before="as it was" if recipe.input_domain == "display" else "linear light, as recorded",
        wanted=None if wanted is None else shrink(wanted, PREVIEW),
        height=height,
    )


steps_figure = _painted(steps_drawing)


def write_steps(
    path: str | os.PathLike[str],
    recipe: Recipe,
    pixels: NDArray[Any],
    *,
    probabilities: Sequence[Mapping[str, float]] | None = None,
) -> None:
    """Write a :func:`steps_drawing` as SVG or, with any other extension, as PNG; the file appears whole or not at all.

    :param recipe: its ``source`` is in the title of the SVG.
    """
    drawing = steps_drawing(recipe, pixels, probabilities=probabilities)
    if Path(path).suffix.lower() == ".svg":
        title = f"How {recipe.source or 'a photograph'} was retouched, step by step"
        write_svg(path, drawing.to_svg(title, in_words(recipe, probabilities)))
    else:
        write_png(path, drawing.to_rgb8())


def in_words(recipe: Recipe, probabilities: Sequence[Mapping[str, float]] | None = None) -> str:
    """The steps as numbered lines, ``"1. exposure +1.3 EV (62 %)"``, for those who cannot see the figure."""
    chances = [""] * len(recipe)
    if probabilities is not None:
        chances = [f" ({_percent(row[edit.filter])})" for edit, row in zip(recipe, probabilities, strict=True)]
    lines = [f"{i}. {edit.describe()}{chance}" for i, (edit, chance) in enumerate(zip(recipe, chances, strict=True), 1)]
    return "\n".join(lines) or "no change"


def draw_chevron(drawing: Drawing, x: float, y: float, style: Style) -> None:
    """The arrow from a picture to the next, its middle at (x, y)."""
    size = style.px(5)
    points = [(x - size / 2, y - size), (x + size / 2, y), (x - size / 2, y + size)]
    drawing.stroke(points, FAINT, max(1, style.px(1.5)))


def _draw_chances(
    drawing: Drawing, place: tuple[int, int], width: int, chances: Sequence[tuple[float, bool]], style: Style
) -> None:
    """A row for each filter: a bar on a hairline, the chosen one bright, with its number."""
    left, top = place
    longest = width - style.px(48)
    drawing.rectangle((left, top), (1, len(chances) * style.px(ROW) - style.px(4)), HAIRLINE)
    for i, (chance, chosen) in enumerate(chances):
        y = top + i * style.px(ROW)
        length = min(max(float(chance), 0.0), 1.0) * longest
        drawing.rectangle((left + 1, y + style.px(3)), (length, style.px(9)), ACCENT if chosen else FAINT)
        if chosen:
            drawing.text((left + length + style.px(8), y), _percent(chance), style.small, ACCENT)


def _percent(chance: float) -> str:
    return f"{100 * chance:.0f} %"


def with_srgb_primaries(frames: Sequence[NDArray[Any]], space: Space) -> list[NDArray[Any]]:
    """A photograph in linear light and what was made of it, in the colours of a screen."""
    if space == "srgb":
        return list(frames)
    before, *after = frames
    return [_to_srgb_primaries(before, space), *(_display_to_srgb_primaries(frame, space) for frame in after)]


def _to_srgb_primaries(linear: NDArray[Any], space: Space) -> NDArray[Any]:
    result: NDArray[Any] = linear @ TO_SRGB[space].T.astype(linear.dtype)
    return result


def _display_to_srgb_primaries(display: NDArray[Any], space: Space) -> NDArray[Any]:
    """Display values of other primaries to those of sRGB, so that the strip has true colours."""
    linear = _to_srgb_primaries(srgb_decode(display.clip(0.0, 1.0)), space)
    encoded: NDArray[Any] = srgb_encode(linear)
    return encoded

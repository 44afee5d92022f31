"""Many pictures on a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from numpy.typing import NDArray

from exposure_gym.recipe import Recipe
from exposure_gym.viz.drawing import Drawing
from exposure_gym.viz.pictures import Rgb8, shrink, to_rgb8
from exposure_gym.viz.strip import with_srgb_primaries
from exposure_gym.viz.style import TEXT, Style, elide, text_length

SAMPLE = 320
"""Long edge of a picture in :func:`samples_figure`, in pixels."""


def contact_sheet(images: Sequence[NDArray[Any]], columns: int = 8, captions: Sequence[str] | None = None) -> Rgb8:
    """Many pictures at their own size in rows and columns as wide and high as they need.

    All are on one page: for many photographs see :func:`contact_pages`.

    :param images: ``(H, W, 3)`` arrays: display values as floats, or uint8.
    :param columns: pictures in a row.
    :param captions: a line of text under each; one that is too long loses its middle. The pictures of a row then stand
        on a line; without captions their middles do.
    :return: ``(h, w, 3)`` uint8.
    :raises ValueError: no images, fewer than one column, or another number of captions.
    """
    if not images or columns < 1:
        raise ValueError("a contact sheet needs at least one image and one column")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(images)} pictures need as many captions, not {len(captions)}")
    pictures = [to_rgb8(image) for image in images]
    columns = min(columns, len(pictures))
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    width = max(picture.shape[1] for picture in pictures)
    gap = max(4, min(max(heights), width) // 24)
    style = Style.of(3 * max(heights) // 4)
    line = 0 if captions is None else style.px(24)
    sheet = Drawing(columns * (width + gap) + gap, sum(heights) + len(rows) * (line + gap) + gap)
    top = gap
    for i, (row, height) in enumerate(zip(rows, heights, strict=True)):
        for j, picture in enumerate(row):
            left = gap + j * (width + gap)
            above = height - picture.shape[0]
            place = left + (width - picture.shape[1]) // 2, top + (above // 2 if captions is None else above)
            sheet.picture(place, picture)
            if captions is not None:
                text = elide(captions[i * columns + j], width, style.small)
                middle = (width - text_length(text, style.small)) / 2
                sheet.text((left + middle, top + height + style.px(5)), text, style.small, TEXT)
        top += height + line + gap
    return sheet.to_rgb8()


def contact_pages(
    images: Iterable[tuple[str, NDArray[Any]]], *, edge: int = 300, columns: int = 6, rows: int = 5
) -> Iterator[Rgb8]:
    """Contact sheets of any number of photographs of any shapes, a page at a time.

    :param images: names and ``(H, W, 3)`` display values or uint8; taken one after the other as pages fill, so that
        they need not all be in memory.
    :param edge: pictures are shrunk to squares of this many pixels.
    :param columns: pictures in a row.
    :param rows: of a page, at most.
    :return: pages ``(h, w, 3)`` uint8, no larger than their cells: with the defaults about 1900 × 1700 pixels.
    """
    small = ((name, shrink(to_rgb8(image), edge)) for name, image in images)
    while page := list(islice(small, columns * rows)):
        names, pictures = zip(*page, strict=True)
        yield contact_sheet(pictures, columns, names)


def samples_figure(recipes: Sequence[Recipe], pixels: NDArray[Any], captions: Sequence[str], columns: int = 5) -> Rgb8:
    """Different edits of one photograph side by side on a small preview, after the photograph itself.

    :param recipes: at least one, all of one working space.
    :param pixels: ``(H, W, 3)`` float, any size: what the recipes take.
    :param captions: one line a recipe.
    :param columns: pictures in a row, at most; the rows are about equally long.
    :return: ``(h, w, 3)`` uint8: the :func:`contact_sheet` of them.
    """
    small = shrink(pixels, SAMPLE)
    frames = with_srgb_primaries([small, *(recipe.apply_photo(small) for recipe in recipes)], recipes[0].working_space)
    rows = -(-len(frames) // columns)
    return contact_sheet(frames, -(-len(frames) // rows), ["before", *captions])

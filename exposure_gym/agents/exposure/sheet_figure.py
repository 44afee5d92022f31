"""The training sheet as a picture: what the agent does and what the critic thinks, on one page.

Above, episodes step by step with the critic's gradients and the agent's decisions; below, the pictures that the
critic learns from. The published sheet has the same parts; here they are labelled and explained.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from exposure_gym.agents.exposure.sheet import Array, Gallery, Sequence, TrainingSheet
from exposure_gym.recipe_words import label
from exposure_gym.viz import (
    ACCENT,
    BRIGHT,
    FAINT,
    HAIRLINE,
    TEXT,
    Colour,
    Drawing,
    Rgb8,
    Style,
    caption,
    draw_chevron,
    draw_glyph,
    to_rgb8,
    wrap,
)

FRAME = 128
"""Edge of a picture in an episode, in pixels."""
CELL = 64
"""Edge of a picture in a gallery."""
GAP = 12
SPLIT = 36
"""Between two episodes side by side."""
MARGIN = 28
LABELS = 104
"""Width of the column that names the rows."""
GALLERY_COLUMNS = 8

STYLE = Style.of(160)
HEADING = Style.of(208)
LINE = 15
"""From a line of small text to the next."""
GRADIENT_TOP = FRAME + 6 + LINE + 6
DECISION_TOP = GRADIENT_TOP + FRAME + 6 + LINE + 10
GLYPH = 36
DETAIL_LINES = 3
BARS = 30
EPISODE = DECISION_TOP + GLYPH + 4 + DETAIL_LINES * LINE + BARS
"""Height of an episode."""

ROWS = (
    (0, "the photo", "score: the critic's\nvalue: reward that\nthe agent expects\nfrom here on"),
    (
        GRADIENT_TOP,
        "the gradient",
        "of the score: how\nthe critic would\nchange each pixel.\nGrey: not at all.\nBelow: the edit\nmost like it",
    ),
    (DECISION_TOP, "the edit", "that the agent\nchose, its reward,\nand the chance of\neach filter"),
)
"""Where each row begins, its name, and what it shows."""
GALLERIES = {
    "pool": ("Replay pool", "games on their way, by number of edits; below each: edits, and the critic's score"),
    "results": ("Results", "fresh photos after their last edit; below each: the critic's score"),
    "targets": ("Targets", "finished photos in the style to learn; below each: the critic's score"),
}


def draw_sheet(sheet: TrainingSheet) -> Rgb8:
    """Draw a training sheet.

    Episodes go two in a row. Their gradients share one scale: mid-grey is no change, white and black are the change
    that only one value in a hundred exceeds; a colour is the colour that the critic wants more of.

    :return: ``(h, w, 3)`` uint8 sRGB.
    """
    across = min(2, len(sheet.sequences))
    steps = max(len(each.frames) for each in sheet.sequences)
    episode_width = steps * (FRAME + GAP) - GAP
    gallery_width = GALLERY_COLUMNS * (CELL + 4) - 4
    width = MARGIN + LABELS + across * (episode_width + SPLIT) - SPLIT + MARGIN
    width = max(width, 2 * MARGIN + 3 * gallery_width + 2 * GAP)
    top = MARGIN + 44
    down = -(-len(sheet.sequences) // across)
    below = top + down * (EPISODE + 2 * GAP) + GAP
    rows = max(-(-len(getattr(sheet, name).pictures) // GALLERY_COLUMNS) for name in GALLERIES)
    height = below + 44 + rows * (CELL + LINE + 6) + MARGIN
    drawing = Drawing(width, height)

    drawing.text((MARGIN, MARGIN), f"iteration {sheet.iteration} of {sheet.iterations}", HEADING.name, BRIGHT)
    said = (
        f"EMD {_signed(sheet.emd)}: so much higher the targets score than the results; a score of 0 is halfway between",
        f"bars, from the left: {', '.join(map(label, sheet.filters))}",
    )
    for i, line in enumerate(said):
        drawing.text((MARGIN + LABELS + 2 * (FRAME + GAP), MARGIN - 4 + i * 18), line, STYLE.small, TEXT)

    strongest = float(np.percentile(np.abs([each.gradients for each in sheet.sequences]), 99)) or 1.0
    for i, sequence in enumerate(sheet.sequences):
        place = MARGIN + LABELS + i % across * (episode_width + SPLIT), top + i // across * (EPISODE + 2 * GAP)
        if i % across == 0:
            _row_labels(drawing, place[1])
        _draw_sequence(drawing, place, sequence, sheet.filters, strongest)
    gap = (width - 2 * MARGIN - 3 * gallery_width) // 2
    for i, (name, (title, words)) in enumerate(GALLERIES.items()):
        gallery: Gallery = getattr(sheet, name)
        left = MARGIN + i * (gallery_width + gap)
        drawing.text((left, below), title, HEADING.name, BRIGHT)
        drawing.text((left, below + 22), words, STYLE.small, TEXT)
        edits = sheet.pool_steps.tolist() if name == "pool" else None
        _draw_gallery(drawing, (left, below + 44), gallery, edits)
    return drawing.to_rgb8()


def gradient_picture(gradient: Array, strongest: float) -> Rgb8:
    """``(S, S, 3)`` gradient as codes around mid-grey; ``strongest`` and all beyond reach black or white."""
    return to_rgb8(0.5 + 0.5 * gradient / strongest)


def _row_labels(drawing: Drawing, top: int) -> None:
    for offset, title, words in ROWS:
        drawing.text((MARGIN, top + offset), title, STYLE.name, BRIGHT)
        for i, line in enumerate(words.split("\n")):
            drawing.text((MARGIN, top + offset + 19 + i * 14), line, STYLE.small, FAINT)


def _draw_sequence(
    drawing: Drawing,
    place: tuple[int, int],
    sequence: Sequence,
    filters: tuple[str, ...],
    strongest: float,
) -> None:
    top = place[1]
    gradients = [gradient_picture(gradient, strongest) for gradient in sequence.gradients]
    for i, (frame, gradient) in enumerate(zip(sequence.frames, gradients, strict=True)):
        left = place[0] + i * (FRAME + GAP)
        drawing.picture((left, top), to_rgb8(frame), (FRAME, FRAME))
        score = _Words(drawing, left, top + FRAME + 6)
        score.left(f"score {_signed(sequence.scores[i])}", BRIGHT if sequence.scores[i] > 0 else TEXT)
        if i < len(sequence.values):
            score.right(f"value {_signed(sequence.values[i])}", FAINT)
        nearest = cv2.resize(gradient, (FRAME, FRAME), interpolation=cv2.INTER_NEAREST)
        drawing.picture((left, top + GRADIENT_TOP), np.asarray(nearest, np.uint8))
        _Words(drawing, left, top + GRADIENT_TOP + FRAME + 6).left(sequence.wishes[i], TEXT)
        if i:
            draw_chevron(drawing, left - GAP / 2, top + FRAME / 2, STYLE)
            _draw_decision(drawing, (left, top + DECISION_TOP), sequence, i - 1, filters)
        else:
            _Words(drawing, left, top + DECISION_TOP).left("before: linear light", TEXT)


def _draw_decision(
    drawing: Drawing,
    place: tuple[int, int],
    sequence: Sequence,
    step: int,
    filters: tuple[str, ...],
) -> None:
    left, top = place
    edit = sequence.edits[step]
    draw_glyph(drawing, edit, place, GLYPH)
    drawing.text((left + GLYPH + 6, top + 2), label(edit.filter), STYLE.name, BRIGHT)
    reward = f"reward {_signed(sequence.rewards[step])}"
    drawing.text((left + GLYPH + 6, top + 20), reward, STYLE.small, BRIGHT if sequence.rewards[step] > 0 else FAINT)
    lines = wrap("\n" + caption(edit).partition("\n")[2], FRAME, STYLE)[1:]
    for i, line in enumerate(lines[:DETAIL_LINES]):
        more = " ..." if i == DETAIL_LINES - 1 and len(lines) > DETAIL_LINES else ""
        drawing.text((left, top + GLYPH + 4 + i * LINE), line.text.rstrip(";,") + more, line.font, line.colour)
    bars = (left, top + GLYPH + 4 + DETAIL_LINES * LINE, FRAME, BARS)
    _draw_bars(drawing, bars, sequence.probabilities[step].tolist(), filters.index(edit.filter))


def _draw_bars(drawing: Drawing, area: tuple[int, int, int, int], probabilities: Iterable[float], chosen: int) -> None:
    """Probability of each filter as bars on a hairline, the chosen one bright, with its number."""
    left, top, width, height = area
    chances = list(probabilities)
    number = STYLE.px(48)
    step = (width - number) / len(chances)
    base = top + height - 1
    for i, chance in enumerate(chances):
        bar = chance * (height - 1)
        colour = ACCENT if i == chosen else FAINT
        drawing.rectangle((left + i * step, base - bar), (step - STYLE.px(3), bar), colour)
    drawing.rectangle((left, base), (width - number - STYLE.px(3), 1), HAIRLINE)
    place = left + width, base - STYLE.px(14)
    drawing.text_before(place, f"{100 * chances[chosen]:.0f} %", STYLE.small, ACCENT)


def _draw_gallery(
    drawing: Drawing,
    place: tuple[int, int],
    gallery: Gallery,
    edits: Iterable[int] | None,
) -> None:
    counts = ["" for _ in gallery.scores] if edits is None else [str(count) for count in edits]
    for i, (picture, score, count) in enumerate(zip(gallery.pictures, gallery.scores, counts, strict=True)):
        left = place[0] + i % GALLERY_COLUMNS * (CELL + 4)
        top = place[1] + i // GALLERY_COLUMNS * (CELL + LINE + 6)
        drawing.picture((left, top), to_rgb8(picture), (CELL, CELL))
        words = _Words(drawing, left, top + CELL + 2, CELL)
        words.left(count, FAINT)
        words.right(_signed(score), BRIGHT if score > 0 else TEXT)


class _Words:
    """One line of small text under a picture, with something at each end."""

    def __init__(self, drawing: Drawing, left: int, top: int, width: int = FRAME) -> None:
        self.drawing = drawing
        self.place = left, top
        self.width = width

    def left(self, text: str, colour: Colour) -> None:
        self.drawing.text(self.place, text, STYLE.small, colour)

    def right(self, text: str, colour: Colour) -> None:
        left, top = self.place
        self.drawing.text_before((left + self.width, top), text, STYLE.small, colour)


def _signed(value: float) -> str:
    """Three figures with a sign; what is too small to show is 0."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:+.{digits}f}".replace("-", "−")
    return "0" if not text.strip("+−0.") else text

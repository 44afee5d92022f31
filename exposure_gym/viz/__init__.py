"""Pictures for people: film strips, step figures, contact sheets.

Values are shown as they are: an edited frame holds display values, and the linear frame that an
edit starts from is shown without a curve too, dark, as the published figures do.
"""

from exposure_gym.viz.drawing import Drawing
from exposure_gym.viz.glyphs import draw_glyph, glyph
from exposure_gym.viz.pictures import Rgb8, data_uri, encoded, fit, shrink, to_rgb8, write_png
from exposure_gym.viz.sheet import contact_pages, contact_sheet, samples_figure
from exposure_gym.viz.strip import (
    draw_chevron,
    film_strip,
    in_words,
    steps_drawing,
    steps_figure,
    strip_drawing,
    write_steps,
)
from exposure_gym.viz.style import (
    ACCENT,
    BLUE,
    BRIGHT,
    FAINT,
    GREEN,
    HAIRLINE,
    PANEL,
    RED,
    SURROUND,
    TEXT,
    Colour,
    Font,
    Line,
    Style,
    caption,
    draw_text,
    elide,
    printable,
    text_length,
    wrap,
)
from exposure_gym.viz.svg import write_svg

__all__ = [
    "ACCENT",
    "BLUE",
    "BRIGHT",
    "FAINT",
    "GREEN",
    "HAIRLINE",
    "PANEL",
    "RED",
    "SURROUND",
    "TEXT",
    "Colour",
    "Drawing",
    "Font",
    "Line",
    "Rgb8",
    "Style",
    "caption",
    "contact_pages",
    "contact_sheet",
    "data_uri",
    "draw_chevron",
    "draw_glyph",
    "draw_text",
    "elide",
    "encoded",
    "film_strip",
    "fit",
    "glyph",
    "in_words",
    "printable",
    "samples_figure",
    "shrink",
    "steps_drawing",
    "steps_figure",
    "strip_drawing",
    "text_length",
    "to_rgb8",
    "wrap",
    "write_png",
    "write_steps",
    "write_svg",
]

"""A report of retouched photographs: one HTML page that opens from the disk, with nothing to install or to download.

It is made from what ``exposure-gym retouch`` wrote, and can be made at any later time. File names come from anywhere,
so that everything is escaped, and the page's own policy lets no script run but its own and nothing come from elsewhere.
"""

from __future__ import annotations

import base64
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import srgb_encode
from exposure_gym.files import replacing
from exposure_gym.photo import EXTENSIONS, RAW_EXTENSIONS
from exposure_gym.preview import read_preview
from exposure_gym.recipe import Recipe
from exposure_gym.report_page import Card, Summary, page
from exposure_gym.viz import Rgb8, contact_pages, data_uri, encoded, fit, shrink, to_rgb8

REPORT = "report.html"
PICTURES = "report_files"
"""Folder beside the page for the pictures in it."""
EDGE = 1600
"""Long edge of the pictures, in pixels."""
QUALITY = 90
SUFFIX = ".recipe.json"
KINDS = {".json": "application/json", ".png": "image/png", ".svg": "image/svg+xml"}

Score = Callable[[NDArray[np.float32]], float]
"""What somebody gives for a picture, ``(H, W, 3)`` display values."""


@dataclass(frozen=True)
class Entry:
    """The files of one retouched photograph."""

    photo: Path
    """Finished."""
    recipe: Path
    steps: Path | None = None
    """Figure of the steps, SVG or PNG."""
    original: Path | None = None
    """What was retouched, where that is known."""


def find_entries(folder: Path, originals: Iterable[Path] = ()) -> tuple[list[Entry], list[str]]:
    """What ``retouch`` wrote into a folder and those in it.

    A recipe tells the name of its photograph, and not where it lies: it is looked for among ``originals``.

    :param originals: photographs that were retouched, and perhaps others.
    :return: the entries, by name; and a line for each recipe without its finished photograph, and for each name that
        several originals have, of which none is taken.
    """
    by_name: dict[str, set[Path]] = {}
    for path in originals:
        by_name.setdefault(path.name, set()).add(path.resolve())
    entries, problems = [], []
    for recipe in sorted(folder.rglob(f"*{SUFFIX}"), key=lambda path: _natural(str(path))):
        stem = recipe.name.removesuffix(SUFFIX)
        photos = [path for path in (recipe.with_name(stem + suffix) for suffix in EXTENSIONS) if path.is_file()]
        if not photos:
            problems.append(f"{recipe}: no finished photograph of this name beside it; retouch it again")
            continue
        steps = [
            path for path in (recipe.with_name(f"{stem}.steps.{kind}") for kind in ("svg", "png")) if path.is_file()
        ]
        try:
            source = Recipe.load(recipe).source
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        photo = max(photos, key=lambda path: path.stat().st_mtime)
        same = by_name.get(source, set()) - {photo.resolve()}
        if len(same) > 1:
            problems.append(f"{recipe}: {len(same)} originals are named {source}; give only one of them")
        entries.append(Entry(photo, recipe, next(iter(steps), None), next(iter(same)) if len(same) == 1 else None))
    return entries, problems


def _natural(text: str) -> list[tuple[int, str]]:
    """Sorts ``img-2`` before ``img-10``."""
    return [(int(part), "") if part.isascii() and part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def write_report(
    folder: Path,
    entries: Sequence[Entry],
    *,
    score: Score | None = None,
    seconds: float | None = None,
    embed: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> list[str]:
    """Write ``folder/report.html``.

    The slider of a photograph shows the original as a screen does, light with the sRGB curve, and the finished one.

    :param entries: files in ``folder`` or in folders in it; :func:`find_entries` finds them.
    :param score: a critic's; it is asked about both pictures as they are shown.
    :param seconds: that retouching took.
    :param embed: keep all pictures in the page, to send it away as one file; else they lie in ``folder/report_files``,
        and the page links to the photographs and recipes.
    :param progress: called with the number of entries done.
    :return: a line for each entry, or part of one, that could not be shown.
    :raises ValueError: no entry could be shown; no page is written.
    :raises OSError: the folder cannot be written to.
    """
    addresses = _Addresses(folder, embed)
    cards: list[Card] = []
    problems: list[str] = []

    def finished() -> Iterator[tuple[str, Rgb8]]:
        """Makes the card of one entry after the other, and gives their pictures to the contact sheets."""
        for number, entry in enumerate(entries, 1):
            try:
                recipe, after = Recipe.load(entry.recipe), _picture(entry.photo)
            except (ValueError, OSError, MemoryError) as error:
                problems.append(_line(error, entry.photo))
                continue
            finally:
                progress(number)
            before = None
            if entry.original is not None:
                try:
                    before = _like(_picture(entry.original), after, entry.original)
                except (ValueError, OSError, MemoryError) as error:
                    problems.append(_line(error, entry.original))
            cards.append(_card(number, entry, recipe, before, after, score, addresses))
            yield cards[-1].name, after

    sheets = [addresses.of_picture(f"contact-{i}.jpg", sheet) for i, sheet in enumerate(contact_pages(finished()), 1)]
    if not cards:
        raise ValueError(f"{folder}: nothing to report: " + (problems[0] if problems else f"no *{SUFFIX} in it"))
    summary = Summary(
        title=folder.resolve().name or str(folder),
        missing=len(entries) - len(cards),
        edits=Counter(edit.filter for card in cards for edit in card.recipe),
        time=_when(entries) if seconds is None else _took(seconds, len(cards)),
        contact_sheets=sheets,
    )
    with replacing(folder / REPORT) as temporary:
        temporary.write_text(page(summary, cards), encoding="utf-8")
    return problems


@dataclass(frozen=True)
class _Addresses:
    """How the page refers to files: by their relative names, or by what they hold."""

    folder: Path
    embed: bool

    def of_picture(self, name: str, codes: Rgb8) -> str:
        """Of a picture that is made for the page."""
        if self.embed:
            return data_uri(codes, "JPEG", QUALITY)
        path = self.folder / PICTURES / name
        path.parent.mkdir(exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_bytes(encoded(codes, "JPEG", QUALITY))
        return self.of_file(path)

    def of_file(self, path: Path) -> str:
        """Of a file that is there."""
        if self.embed:
            kind = KINDS[path.suffix.lower()]
            return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
        return quote(Path(os.path.relpath(path, self.folder)).as_posix().encode("utf-8", "surrogateescape"))


def _card(
    number: int,
    entry: Entry,
    recipe: Recipe,
    before: Rgb8 | None,
    after: Rgb8,
    score: Score | None,
    addresses: _Addresses,
) -> Card:
    return Card(
        name=os.path.relpath(entry.photo, addresses.folder),
        recipe=recipe,
        size=(after.shape[1], after.shape[0]),
        after=addresses.of_picture(f"{number:04d}-after.jpg", after),
        before=None if before is None else addresses.of_picture(f"{number:04d}-before.jpg", before),
        steps=None if entry.steps is None else addresses.of_file(entry.steps),
        recipe_file=addresses.of_file(entry.recipe),
        photo=None if addresses.embed else addresses.of_file(entry.photo),
        scores=None if score is None else (None if before is None else _ask(score, before), _ask(score, after)),
    )


def _ask(score: Score, codes: Rgb8) -> float:
    return score(codes.astype(np.float32) / np.float32(255))


def _picture(path: Path) -> Rgb8:
    """A photograph as a screen shows it, no larger than :data:`EDGE`."""
    if path.suffix.lower() in RAW_EXTENSIONS:
        pixels = srgb_encode(read_preview(path, "linear", short_edge=EDGE // 2).pixels.clip(0.0, 1.0))
    else:
        pixels = read_preview(path, "display", short_edge=EDGE // 2).pixels
    return to_rgb8(shrink(pixels, EDGE))


def _like(before: Rgb8, after: Rgb8, path: Path) -> Rgb8:
    """The original in the size of the finished photograph; refused where it is another picture by its shape."""
    (height, width), (wanted_height, wanted_width) = before.shape[:2], after.shape[:2]
    if abs(width * wanted_height - height * wanted_width) > 0.01 * width * wanted_height + 2 * (width + height):
        raise ValueError(f"{path}: has another shape than its finished photograph, so they are not compared")
    return fit(before, wanted_width, wanted_height)


def _line(error: BaseException, path: Path) -> str:
    return " ".join(str(error).split()) or f"{path}: does not fit in memory; make it smaller"


def _took(seconds: float, photos: int) -> str:
    whole = f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"
    return f"retouched in {whole}, {seconds / photos:.2f} s a photo"


def _when(entries: Iterable[Entry]) -> str:
    """When the recipes were written."""
    times = [datetime.fromtimestamp(entry.recipe.stat().st_mtime) for entry in entries]
    first, last = (f"{time:%Y-%m-%d %H:%M}" for time in (min(times), max(times)))
    return f"retouched {first}" if first == last else f"retouched {first} to {last}"

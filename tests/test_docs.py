"""The documentation says what the code does: pages are made from it, tables agree with it, links lead somewhere."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from exposure_gym.envs import PhotoRetouchEnv
from exposure_gym.envs.actions import BoxActions
from exposure_gym.envs.photo_retouch import KEYS
from exposure_gym.envs.strengths import PLACES
from exposure_gym.filters import MASK_NAMES, MASK_RANGE, Filter, default_filters, local_mask

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MAKE = runpy.run_path(str(DOCS / "make_environments.py"))
IDS: list[str] = MAKE["ids"]()

Table = list[dict[str, str]]


def tables(text: str) -> Iterator[Table]:
    """The tables of a Markdown text, each row by the heads of its columns."""
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in block.splitlines())
        yield [dict(zip(head, row, strict=True)) for row in rows]


def table(id: str, column: str) -> Table:
    """The one table of an id's page that has this column."""
    text = (DOCS / "environments" / f"{id}.md").read_text(encoding="utf-8")
    (found,) = (rows for rows in tables(text) if column in rows[0])
    return found


def numbers(cell: str) -> tuple[int, int]:
    """``"5-12"`` or ``"13"``: the first and the last."""
    first, _, last = cell.partition("-")
    return int(first), int(last or first)


def made(id: str, **options: Any) -> Any:
    return gym.make(id, image_size=8, **options).unwrapped


# -- the environments' pages -------------------------------------------------------------------------------------------


def test_pages_are_those_that_the_docstrings_make() -> None:
    pages: dict[Path, str] = MAKE["pages"]()
    assert set(pages) == set((DOCS / "environments").glob("*"))
    stale = [path.name for path, text in pages.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/make_environments.py --pages"
    assert MAKE["pages"]() == pages


@pytest.mark.parametrize("id", IDS)
def test_tables_of_parameters_agree_with_the_filters(id: str) -> None:
    def names(cell: str, filter_: Filter) -> tuple[str, ...]:
        written = re.findall(r"`(\w+)`", cell)
        ends = [filter_.parameter_names[0], filter_.parameter_names[-1]]
        return filter_.parameter_names if " to " in cell and written == ends else tuple(written)

    for row, filter_ in zip(table(id, "unit"), default_filters(), strict=True):
        assert row["name"] == f"`{filter_.name}`"
        assert names(row["parameters"], filter_) == filter_.parameter_names
        assert row["unit"] == filter_.unit
        assert (float(Fraction(row["min"])), float(Fraction(row["max"]))) == (filter_.low, filter_.high)
        assert (float(row["no change"]),) * filter_.num_parameters == filter_.neutral


@pytest.mark.parametrize(("id", "place", "shift"), [(IDS[0], "filter", 0), (IDS[1], "score", 8)])
def test_tables_say_where_each_block_lies(id: str, place: str, shift: int) -> None:
    for i, (row, block) in enumerate(zip(table(id, place), made(id).game.blocks, strict=True)):
        assert int(row[place]) == i
        assert numbers(row["block"]) == (block.start + shift, block.stop - 1 + shift)


def test_ranges_of_the_action_are_those_of_the_parameters() -> None:
    for row, filter_ in zip(table(IDS[0], "what it does"), default_filters(), strict=True):
        corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * min(filter_.num_actions, 2)), -1).reshape(-1, 2)
        if filter_.num_actions == 1:
            corners = np.array([[-1.0], [1.0]])
        elif filter_.num_actions > 2:
            corners = np.array([[-1.0], [1.0]]).repeat(filter_.num_actions, axis=1)
        physical = filter_.physical(corners)
        assert physical.min() == pytest.approx(float(Fraction(row["min"])), abs=1e-4)
        assert physical.max() == pytest.approx(float(Fraction(row["max"])), abs=1e-4)


def test_table_of_masks_is_true() -> None:
    dark_to_bright = np.linspace(0.0, 1.0, 8)[None, None, None, :].repeat(3, 1).repeat(8, 2)
    grey = np.full((1, 3, 8, 8), 0.5)

    def mask(image: Any = grey, **values: float) -> Any:
        parameters = {"sharpness": 5.0, "strength": 5.0} | values
        return local_mask(image, np.array([[parameters.get(name, 0.0) for name in MASK_NAMES]]))[0, 0]

    rows = table(IDS[0], "mask")
    for i, (row, name) in enumerate(zip(rows, MASK_NAMES, strict=True)):
        assert (row["number"], row["mask"]) == (str(i), f"`{name}`")
        assert (float(row["min"]), float(row["max"])) == (-MASK_RANGE, MASK_RANGE)
    assert [row["above 0"].split()[-1] for row in rows[:4]] == ["bottom", "right", "parts", "everywhere"]
    assert all((upper < lower).all() for upper, lower in pairwise(mask(vertical=3.0)))
    assert all((left < right).all() for left, right in pairwise(mask(horizontal=3.0).T))
    assert all((dark < bright).all() for dark, bright in pairwise(mask(dark_to_bright, luminance=3.0).T))
    assert (mask(offset=1.0) > mask()).all()
    np.testing.assert_allclose(mask(vertical=3.0, sharpness=-5.0), mask(vertical=-3.0))
    assert mask(offset=5.0).min() > 0.99 > mask(offset=5.0, strength=4.0).max()
    assert mask(offset=-5.0).min() == pytest.approx(0.3, abs=1e-3)


def test_numbers_in_the_text_are_true() -> None:
    text = (DOCS / "environments" / f"{IDS[0]}.md").read_text(encoding="utf-8")
    (count, start), *_ = re.findall(r"follow \((\d+) in all\), filter by filter from place (\d+) on", text)
    game = made(IDS[0], masks=True).game
    assert (game.num_parameters - int(count), game.mask_block(0).start) == (39, int(start))
    assert game.mask_block(1).start == int(start) + 6
    assert made(IDS[0], stop_action=True).action_space["filter"].n - 1 == 8
    assert "a last value of `filter`, 8," in text
    form: BoxActions = made(IDS[1], stop_action=True, masks=True).form
    assert form.length == 47 + 1 + int(count)


def test_menu_of_the_discrete_form() -> None:
    labels = made(IDS[2]).form.labels
    listed: list[str] = []
    for row in table(IDS[2], "strength"):
        strengths = [f"{row['name'].strip('`')} {strength}" for strength in row["strength"].split("; ")]
        assert numbers(row["action"]) == (len(listed), len(listed) + len(strengths) - 1)
        listed += strengths
    assert listed == labels
    actions = table(IDS[2], "key")
    assert [row["name"] for row in actions] == labels
    assert "".join(row["key"].strip("`") for row in actions) == KEYS[: len(labels)]
    text = (DOCS / "environments" / f"{IDS[2]}.md").read_text(encoding="utf-8")
    assert f"the first {len(KEYS)} a key" in text
    assert ": ".join(["at five places", ", ".join(PLACES)]) in " ".join(text.split())
    masked = made(IDS[2], masks=True).form.labels
    assert masked[5 * 3 + 2] == f"{labels[3]}, {list(PLACES)[2]}"


@pytest.mark.parametrize("id", IDS)
def test_options_are_listed_with_their_defaults(id: str) -> None:
    text = MAKE["page"](id, made(id))
    rows = {row["argument"]: row["default"] for found in tables(text) if "argument" in found[0] for row in found}
    if id == IDS[0]:
        assert {"`max_steps`": "`5`", "`reward`": '`"critic"`', "`tensors`": "`False`"}.items() <= rows.items()
        assert rows["`options`"] == ""
    else:
        assert rows == {}
        assert f"{IDS[0]}.md#many-games-at-once" in text


def test_a_page_needs_to_say_whom_it_is_for() -> None:
    class Nobodys(PhotoRetouchEnv):
        """For nobody.

        ## Description

        A game.
        """

    with pytest.raises(ValueError, match="Nobodys: the Description has no paragraph"):
        MAKE["algorithms"](Nobodys)


# -- the GIFs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_each_has_a_small_gif_that_ends_brighter(id: str) -> None:
    path = DOCS / "images" / f"{id}.gif"
    assert path.stat().st_size < 1_000_000
    assert set(MAKE["PHOTOGRAPHS"]) == set(IDS)
    check_gif(path)


@pytest.mark.parametrize("id", IDS[1:])
def test_gifs_can_be_made(id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.syspath_prepend(DOCS)
    from episode_gif import write_gif

    photo = np.full((40, 60, 3), 0.03, np.float32) + rng.random((40, 60, 3), np.float32) * 0.02
    write_gif(tmp_path / "episode.gif", id, photo)
    check_gif(tmp_path / "episode.gif")


def check_gif(path: Path) -> None:
    with Image.open(path) as film:
        assert getattr(film, "n_frames", 1) == 11
        assert film.info["loop"] == 0
        before = np.asarray(film.convert("RGB"))
        film.seek(10)
        after = np.asarray(film.convert("RGB"))
    assert after.shape == before.shape
    assert after.mean() > before.mean() + 5


# -- links -------------------------------------------------------------------------------------------------------------

PAGES = sorted(
    {
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
        *(ROOT / "exposure_gym").rglob("*.md"),
    }
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link} leaves the repository"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_names_every_page() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"({page.name})" not in text] == []

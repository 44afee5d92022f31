"""A black-box filter is explained: known recipes are found again, unknown filters mimicked, and the command says so."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_tools import photograph, run
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from exposure_gym.cli.explain import FILES
from exposure_gym.color import srgb_encode
from exposure_gym.data import sample_photos
from exposure_gym.explain import Pair, explain, measure
from exposure_gym.filters import default_filters
from exposure_gym.photo import DisplayPhoto, read_display, write_display
from exposure_gym.recipe import Edit, Recipe

Picture = NDArray[np.float32]


@cache
def pictures() -> tuple[Picture, ...]:
    """Four photographs as files hold them: display values, 8 bits."""
    found = [srgb_encode(np.clip(4.0 * light, 0.0, 1.0)) for light in sample_photos(0).values()][:4]
    return tuple(codes(cv2.resize(np.float32(x), (120, 80), interpolation=cv2.INTER_AREA)) for x in found)


def codes(picture: NDArray[Any]) -> Picture:
    return np.asarray(np.rint(255.0 * picture.clip(0.0, 1.0)) / 255.0, np.float32)


def filtered(filter_: Callable[[Picture], NDArray[Any]]) -> tuple[list[Pair], list[Pair]]:
    """Three pairs to learn from, and one that is held out."""
    pairs = [(picture, codes(filter_(picture))) for picture in pictures()]
    return pairs[:3], pairs[3:]


@settings(max_examples=3)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_known_recipes_are_found_again(seed: int, edits: int) -> None:
    rng = np.random.default_rng(seed)
    known = default_filters()
    chosen = [known[i] for i in rng.choice(len(known), edits, replace=False)]
    actions = [rng.uniform(-1, 1, filter_.num_actions) for filter_ in chosen]
    recipe = Recipe(tuple(Edit.from_action(f.name, a) for f, a in zip(chosen, actions, strict=True)))
    learned, held_out = filtered(recipe.apply_photo)
    found = explain(learned, max_edits=3, size=32)
    assert measure(found, held_out).ciede2000 < 1.0
    assert len(found) <= edits  # the simplest explanation wins
    assert found.input_domain == "display"


def sepia(x: Picture) -> NDArray[Any]:
    matrix = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])
    return np.asarray(x @ matrix.T)


def cross_process(x: Picture) -> NDArray[Any]:
    red, green = (3 * x[..., i] ** 2 - 2 * x[..., i] ** 3 for i in (0, 1))
    mixed = np.stack([red, green, 0.18 + 0.62 * x[..., 2]], -1)
    return np.asarray(mixed @ np.array([[0.95, 0.08, -0.03], [0.02, 0.93, 0.05], [0.03, 0.05, 0.92]]).T)


@pytest.mark.parametrize("filter_", [sepia, cross_process])
def test_filters_with_operations_of_their_own_are_mimicked(filter_: Callable[[Picture], NDArray[Any]]) -> None:
    learned, held_out = filtered(filter_)
    found = explain(learned, max_edits=2, size=32)
    ours, nothing = measure(found, held_out), measure(Recipe(), held_out)
    assert ours.ciede2000 < 0.5 * nothing.ciede2000
    assert ours.psnr > nothing.psnr + 6.0


def test_a_filter_that_does_nothing_needs_no_edit() -> None:
    found = explain([(picture, picture) for picture in pictures()], size=32)
    assert found.edits == ()
    assert measure(found, [(pictures()[0], pictures()[0])]).psnr == np.inf


def test_one_input_has_one_answer() -> None:
    learned, _ = filtered(lambda x: x**0.6)
    first, again = (explain(learned, max_edits=1, size=32) for _ in range(2))
    assert first == again
    assert [edit.filter for edit in first] == ["gamma"]
    assert first.edits[0].parameters[0] == pytest.approx(0.6, abs=0.01)


def test_what_cannot_be_explained() -> None:
    picture = pictures()[0]
    with pytest.raises(ValueError, match="one size"):
        explain([(picture, picture[1:])])
    with pytest.raises(ValueError, match="at least one pair"):
        explain([])
    with pytest.raises(ValueError, match="one edit"):
        explain([(picture, picture)], max_edits=0)


# -- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Five pairs of a brightening filter, under one name but not one extension."""
    for i in range(5):
        before = read_display(photograph(tmp_path / f"before/{i}.png", i)).pixels
        (tmp_path / "after").mkdir(exist_ok=True)
        write_display(tmp_path / f"after/{i}.tif", DisplayPhoto(before**0.5))
    return tmp_path / "before", tmp_path / "after"


def test_the_command_prints_code_that_does_it(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("explain", *folders, "-o", out, "--max-edits", 1)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    first, report, *_ = done.stdout.splitlines()
    assert first.startswith("# gamma 1/2.0")
    assert "measured on 1 pair kept out of the search" in report
    ours, nothing = (float(report.split(words)[1].split()[0].strip("),")) for words in ("CIEDE2000 ", "nothing: "))
    assert ours < 0.3 < 10.0 < nothing
    assert {path.name for path in out.iterdir()} == set(FILES)
    recipe = Recipe.load(out / "filter.recipe.json")
    assert (recipe.input_domain, recipe.source) == ("display", "before")
    picture = read_display(folders[0] / "1.png").pixels
    for code in (done.stdout, (out / "filter.py").read_text(encoding="utf-8")):
        namespace: dict[str, Any] = {}
        exec(code, namespace)
        np.testing.assert_allclose(namespace["edit"](picture), recipe.apply_photo(picture), atol=1e-5)
        np.testing.assert_allclose(namespace["edit"](picture), picture**0.5, atol=0.01)


def test_two_files_are_a_pair_too(folders: tuple[Path, Path]) -> None:
    done = run("explain", folders[0] / "0.png", folders[1] / "0.tif", "--max-edits", 1)
    assert done.exit_code == 0, done.output
    assert "measured on the pair it was searched on" in done.stdout


def test_pairs_that_cannot_be_used_are_left_out(folders: tuple[Path, Path]) -> None:
    (folders[1] / "0.tif").write_bytes(b"II*\0 broken")
    photograph(folders[1] / "2.tif", 2, size=(40, 40))
    done = run("explain", *folders, "--max-edits", 1)
    assert done.exit_code == 1
    broken, other_size = done.stderr.splitlines()
    assert "0.tif" in broken
    assert "120x90 and 40x40 pixels are no pair" in other_size
    assert done.stdout.startswith("# gamma 1/2.0")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["before", "after/0.tif"], 2, "two photographs or two folders"),
        (["before", "empty"], 2, "no two photos have one name"),
        (["before/0.png", "after/none.tif"], 1, "does not exist"),
        (["before", "after", "-o", "taken"], 2, "exists already"),
        (["before", "after", "-o", "taken/filter.cube"], 2, "is a file"),
        (["before", "after", "--max-edits", "0"], 2, "--max-edits"),
    ],
)
def test_wrong_usage(
    words: list[str],
    status: int,
    said: str,
    folders: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/filter.cube").write_text("mine")
    monkeypatch.chdir(tmp_path)
    if said == "is a file":  # a search that finds its folder wanting is one too many
        monkeypatch.setattr("exposure_gym.explain.explain", lambda *_, **__: Recipe(input_domain="display"))
    done = run("explain", *words)
    assert (done.exit_code, said in done.stderr) == (status, True), done.output
    assert (tmp_path / "taken/filter.cube").read_text() == "mine"


def test_a_failed_write_leaves_nothing(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exposure_gym.viz.write_png", full)
    monkeypatch.setattr("exposure_gym.explain.explain", lambda *_, **__: Recipe(input_domain="display"))
    done = run("explain", *folders, "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert list((tmp_path / "out").iterdir()) == []

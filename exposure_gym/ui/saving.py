"""A photograph is done: full size, its recipe and its film strip, as ``exposure-gym retouch`` writes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path

from exposure_gym.cli.batch import Choice, Darkroom, Job
from exposure_gym.cli.outputs import Format, Found, Plan, check_writable, file_identity, plan_results
from exposure_gym.photo import Reading, Space
from exposure_gym.recipe import Edit, Recipe, cores
from exposure_gym.ui.pictures import MAX_MEGAPIXELS


def free_plan(photo: Path, folder: Path, format: Format | None, ours: Sequence[str] = ()) -> Plan:
    """The files that a photograph becomes: with a number behind its name where that is taken.

    :param ours: names of files that may be there because an earlier attempt to write them was cut short.
    """
    for number in count(1):
        plan = plan_results([Found(photo)] * number, folder, 1, format)[-1]
        if not any(file.exists() and file.name not in ours for file in plan):
            return plan
    raise AssertionError


def save(photo: Path, reading: Reading, space: Space, edits: Sequence[Edit], by: str, plan: Plan) -> None:
    """Read the photograph at full size, develop it and write all files of the plan, or none.

    :param by: who made the edits, for the recipe's comment.
    :raises ValueError: it cannot be read or written; one line. :raises OSError: likewise.
    """
    read_as = "display values, not linearised" if reading == "display" else f"brightness {_brightness(reading)}"
    recipe = Recipe(
        tuple(edits),
        space,
        photo.name,
        f"by {by}, for the photo as read with {read_as}",
        "display" if reading == "display" else "linear",
    )
    identity = file_identity(photo)
    darkroom = Darkroom(
        space=space,
        options={},
        reading={"max_megapixels": MAX_MEGAPIXELS},
        looks=True,
        workers=1,
        threads=cores(),
        check=partial(check_writable, inputs={identity} if identity else set(), force=True),
    )
    (outcome,) = darkroom.run([Job(photo, plan, reading)], lambda jobs, previews: [[Choice(recipe)]])
    if outcome.error is not None:
        raise outcome.error


def _brightness(reading: Reading) -> str:
    return "as-is" if reading == "linear" else reading

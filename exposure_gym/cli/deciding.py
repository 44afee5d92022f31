"""Who chooses the edits of a batch: the agent, or a recipe that was made before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exposure_gym.cli.batch import Choice, Job
from exposure_gym.cli.messages import fail

if TYPE_CHECKING:
    from exposure_gym.agents.exposure import ExposureAgent
    from exposure_gym.agents.exposure.retouching import Brief
    from exposure_gym.photo import Reading
    from exposure_gym.preview import Preview
    from exposure_gym.recipe import InputDomain, Recipe
    from exposure_gym.rewards import CriticReward


@dataclass(frozen=True)
class AgentDecides:
    """The agent looks at all photographs of a group together.

    :param seed: of the first sample; None for the agent's one best edit.
    :param strength: of every edit, see :func:`exposure_gym.recipe_strength.with_strength`.
    """

    agent: ExposureAgent
    brief: Brief
    seed: int | None
    strength: float

    def __call__(self, jobs: Sequence[Job], previews: Sequence[Preview | None]) -> list[list[Choice]]:
        """As :data:`exposure_gym.cli.batch.Decide`."""
        samples = [len(job.plan.results) for job in jobs]
        views = [preview for preview in previews if preview is not None]
        assert len(views) == len(jobs)
        seeds = None if self.seed is None else [self.seed + i for count in samples for i in range(count)]
        pixels = [view.pixels for view, count in zip(views, samples, strict=True) for _ in range(count)]
        decisions = iter(self.agent.retouch_many(pixels, seeds=seeds, brief=self.brief))
        space = self.agent.working_space
        whole = self.strength == 1.0 and self.brief.start is None  # every step is the agent's
        chosen = []
        for job, view, count in zip(jobs, views, samples, strict=True):
            choices = []
            for _ in range(count):
                recipe, probabilities = next(decisions)
                recipe = _for_photo(replace(recipe, working_space=space), job, f"for the photo as read {_as_read(job)}")
                recipe = _at_strength(recipe, self.strength, view)
                choices.append(Choice(recipe, probabilities if whole else None))
            chosen.append(choices)
        return chosen


@dataclass(frozen=True)
class RecipeDecides:
    """One edit for all photographs."""

    recipe: Recipe
    name: str
    strength: float

    def __call__(self, jobs: Sequence[Job], previews: Sequence[Preview | None]) -> list[list[Choice]]:
        """As :data:`exposure_gym.cli.batch.Decide`."""
        return [
            [
                Choice(
                    _at_strength(
                        _for_photo(self.recipe, job, f"from {self.name}, {_as_read(job)}"), self.strength, view
                    )
                )
            ]
            for job, view in zip(jobs, previews, strict=True)
        ]


def _for_photo(recipe: Recipe, job: Job, comment: str) -> Recipe:
    domain: InputDomain = "display" if job.reading == "display" else "linear"
    return replace(recipe, source=job.source.name, comment=comment, input_domain=domain)


def _at_strength(recipe: Recipe, strength: float, preview: Preview | None) -> Recipe:
    if strength == 1.0:
        return recipe
    from exposure_gym.recipe_strength import with_strength

    scaled = with_strength(recipe, strength, 0.0 if preview is None else preview.darkened)
    return replace(scaled, comment=f"{scaled.comment}, at strength {strength:g}")


def _as_read(job: Job) -> str:
    if job.reading == "display":
        return "with its display values, not linearised"
    return f"with brightness {'as-is' if job.reading == 'linear' else job.reading}"


def compare(recipes: list[Recipe], preview: Preview, path: Path, reward: CriticReward) -> None:
    """Write the picture of all samples, each with what a critic gives for it: its score less that of the input."""
    import numpy as np
    import torch

    from exposure_gym.photo import to_square
    from exposure_gym.viz import samples_figure, write_png

    view = to_square(preview.pixels, reward.critic.image_size)
    views = np.stack([view, *(recipe.apply_photo(view) for recipe in recipes)]).transpose(0, 3, 1, 2)
    before, *after = reward.potential(torch.from_numpy(np.ascontiguousarray(views))).tolist()
    captions = [f"{i}   critic {score - before:+.2f}" for i, score in enumerate(after, 1)]
    write_png(path, samples_figure(recipes, preview.pixels, [text.replace("-", "−") for text in captions]))


def load_recipe(path: Path) -> Recipe:
    """A recipe that was named on the command line; wrong usage if it is none."""
    from exposure_gym.recipe import Recipe

    try:
        return Recipe.load(path)
    except FileNotFoundError:
        fail(f"{path}: does not exist; check the name", 2)
    except ValueError as error:
        fail(str(error), 2)
    except OSError as error:
        fail(f"{path}: cannot be read ({error.strerror}); name a recipe file", 2)


def write_brief(agent: ExposureAgent, only: str | None, max_edits: int | None, start: Path | None) -> Brief:
    """What the agent may do, from the command line; wrong usage if it cannot be done."""
    from exposure_gym.agents.exposure.retouching import Brief

    recipe = None if start is None else load_recipe(start)
    names = None if only is None else tuple(name.strip() for name in only.split(",") if name.strip())
    try:
        brief = Brief(names, max_edits, recipe)
        brief.allowed(agent.game)
    except ValueError as error:
        fail(f"--only {only}: {error}", 2)
    if recipe is not None and names is not None and set(names) <= {edit.filter for edit in recipe}:
        fail(f"--only {only}: {start} uses these already, and each is used once; nothing is left for the agent", 2)
    wanted: tuple[str, str] = ("display" if agent.reading == "display" else "linear", agent.working_space)
    if recipe is not None and (recipe.input_domain, recipe.working_space) != wanted:
        given = f"{recipe.input_domain} values in {recipe.working_space} primaries"
        fail(f"{start}: is for {given}, but the model works on {wanted[0]} values in {wanted[1]} ones", 2)
    return brief


def reading_of(brightness: str, usual: Reading, is_dark: bool) -> Reading:
    """How a photograph is read: as asked, or else as usual; finished ones darkened if that is RAW files."""
    if brightness != "auto":
        return "raw-like" if brightness == "raw-like" else "linear"
    return "raw-like" if usual == "linear" and not is_dark else usual

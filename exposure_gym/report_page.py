"""The page of a report: its HTML, its looks and the script of its sliders."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape

from exposure_gym.recipe import Edit, Recipe
from exposure_gym.recipe_words import label
from exposure_gym.viz import caption
from exposure_gym.viz.svg import xml_safe


@dataclass(frozen=True)
class Card:
    """One photograph on the page. Addresses are of files beside the page, or hold the file."""

    name: str
    recipe: Recipe
    size: tuple[int, int]
    """Width and height of the two pictures."""
    after: str
    """Address of the finished picture, and so on."""
    before: str | None
    steps: str | None
    recipe_file: str
    photo: str | None
    scores: tuple[float | None, float] | None
    """The critic's, before and after."""


@dataclass(frozen=True)
class Summary:
    """The head of the page."""

    title: str
    missing: int
    """Photographs that could not be shown."""
    edits: Mapping[str, int]
    """How often each filter was used."""
    time: str
    contact_sheets: Iterable[str]
    """Addresses."""


def page(summary: Summary, cards: list[Card]) -> str:
    """The whole page as HTML."""
    sections = "\n".join(_section(i, card) for i, card in enumerate(cards, 1))
    script = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; script-src 'sha256-{script}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="dark light">
<title>{_text(summary.title)}: {_count(len(cards), "retouched photo")}</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1><bdi>{_text(summary.title)}</bdi></h1>
{_head(summary, cards)}
</header>
<main>
{sections}
</main>
<script>{SCRIPT}</script>
</body>
</html>
"""


def _head(summary: Summary, cards: list[Card]) -> str:
    facts = [f"<strong>{_count(len(cards), 'photo')}</strong>", _text(summary.time)]
    if summary.missing:
        facts.append(f"{_count(summary.missing, 'more photo')} could not be shown")
    alone = [card for card in cards if card.before is None]
    if alone:
        facts.append(f"{len(alone)} without the original")
    both = [card.scores for card in cards if card.scores is not None and card.scores[0] is not None]
    if both:
        better = sum(after > before for before, after in both if before is not None)
        facts.append(f"the critic prefers {better} of {len(both)} finished photos to their originals")
    most = max(summary.edits.values(), default=1)
    bars = "\n".join(
        f'<li><span>{_text(label(name))}</span><i style="width:{8 * count / most:.2f}rem"></i>{count}</li>'
        for name, count in sorted(summary.edits.items(), key=lambda item: -item[1])
    )
    sheets = "\n".join(
        f'<img src="{escape(address)}" alt="Contact sheet, page {i}: the finished photos" loading="lazy">'
        for i, address in enumerate(summary.contact_sheets, 1)
    )
    hints = []
    if len(alone) < len(cards):
        hints.append("Drag across a photo to compare it with its original, or go to it and use the arrow keys.")
    if both:
        hints.append("The critic learned to tell finished photos from others: more is better.")
    return f"""<p>{" · ".join(facts)}</p>
<h2>Filters used</h2>
<ul class="filters">
{bars}
</ul>
<details><summary>Contact sheet</summary>
{sheets}
</details>
<p class="faint">{" ".join(hints)}</p>"""


def _section(number: int, card: Card) -> str:
    width, height = card.size
    name = _text(card.name)
    look = f'width="{width}" height="{height}" draggable="false" loading="lazy"'
    pictures = f'<img src="{escape(card.after)}" alt="After: {name}" {look}>'
    below = ""
    if card.before is not None:
        pictures += f"""
<img class="before" src="{escape(card.before)}" alt="Before: {name}" {look}>
<input type="range" min="0" max="100" value="50" step="1" aria-label="Compare before and after: {name}">"""
        below = "<figcaption><span>before</span><span>after</span></figcaption>"
    steps = "".join(f"<li><strong>{_text(what)}</strong> {_text(how)}</li>" for what, how in map(_step, card.recipe))
    words = f"<ol>{steps}</ol>" if steps else "<p>no change</p>"
    links = [f'<a href="{escape(card.recipe_file)}"{_download(card)}>recipe (JSON)</a>']
    if card.photo is not None:
        links.insert(0, f'<a href="{escape(card.photo)}">finished photo</a>')
    figure = ""
    if card.steps is not None:
        said = _text(card.recipe.describe())
        image = f'<img src="{escape(card.steps)}" alt="Step by step: {said}" loading="lazy">'
        figure = f'<div class="steps" tabindex="0" role="group" aria-label="Steps of {name}">{image}</div>'
    return f"""<section id="photo-{number}" aria-labelledby="name-{number}">
<div class="photo">
<figure style="--ratio:{width / height:.4f}">
<div class="pictures{" compare" * (card.before is not None)}">
{pictures}
</div>
{below}
</figure>
<div class="words">
<h2 id="name-{number}"><bdi>{name}</bdi></h2>
{words}
{_critic(card)}
<p>{" · ".join(links)}</p>
</div>
</div>
{figure}
</section>"""


def _step(edit: Edit) -> tuple[str, str]:
    what, _, how = caption(edit).partition("\n")
    return what, how


def _critic(card: Card) -> str:
    if card.scores is None:
        return ""
    before, after = card.scores
    if before is None:
        return f"<p>critic {_signed(after)}</p>"
    return f"<p>critic {_signed(before)} → {_signed(after)} <strong>({_signed(after - before)})</strong></p>"


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _download(card: Card) -> str:
    """A recipe that is in the page is saved under its name."""
    return f' download="{_text(card.name)}.recipe.json"' if card.recipe_file.startswith("data:") else ""


def _text(text: str) -> str:
    """Any text, such as a file's name, for between tags or in an attribute."""
    return escape(xml_safe(text))


STYLE = """
:root {
  color-scheme: dark light;
  --page: #1c1c1c; --ink: #e4e4e4; --faint: #9c9c9c; --line: #3a3a3a; --mat: #222; --accent: #e2b060;
  font: 16px/1.5 system-ui, sans-serif; background: var(--page); color: var(--ink);
}
@media (prefers-color-scheme: light) {
  :root { --page: #d6d6d6; --ink: #1c1c1c; --faint: #575757; --line: #b0b0b0; --accent: #7a4f00; }
}
*, ::before, ::after { box-sizing: border-box; }
body { margin: 0 auto; max-width: 120rem; padding: 1.5rem clamp(0.75rem, 2vw, 2.5rem); overflow-wrap: anywhere; }
h1, h2 { font-weight: 600; line-height: 1.25; margin: 0 0 0.5rem; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.05rem; }
p { margin: 0 0 1rem; }
a { color: var(--accent); }
ol { margin: 0 0 1rem; padding-left: 1.4rem; }
ol strong { font-weight: 600; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
.faint { color: var(--faint); }
.filters { list-style: none; margin: 0 0 1rem; padding: 0; }
.filters li { display: flex; align-items: center; gap: 0.6rem; line-height: 1.4; }
.filters span { width: 9rem; color: var(--faint); }
.filters i { height: 0.6rem; background: var(--accent); }
details { margin: 0 0 1rem; }
summary { cursor: pointer; }
details img { display: block; max-width: 100%; height: auto; margin-top: 1rem; }
section { border-top: 1px solid var(--line); padding: 1.5rem 0; }
.photo { display: grid; gap: 1.25rem; }
@media (min-width: 60rem) { .photo { grid-template-columns: minmax(0, 3fr) minmax(16rem, 1fr); } }
figure { margin: 0; padding: clamp(0.5rem, 1.5vw, 1.5rem); background: var(--mat); }
.pictures, figcaption { width: min(100%, 82vh * var(--ratio)); margin: 0 auto; }
.pictures { position: relative; aspect-ratio: var(--ratio); }
.pictures img { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.compare {
  --at: 50%; cursor: ew-resize; touch-action: pan-y pinch-zoom;
  -webkit-user-select: none; user-select: none;
}
.compare .before { clip-path: inset(0 calc(100% - var(--at)) 0 0); }
.compare::before, .compare::after {
  content: ""; position: absolute; z-index: 1; left: var(--at); pointer-events: none;
}
.compare::before { top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #fffc; box-shadow: 0 0 3px #000a; }
.compare::after {
  top: 50%; width: 1.5rem; height: 1.5rem; margin: -0.75rem; border-radius: 50%;
  border: 2px solid #fffc; box-shadow: 0 0 3px #000a;
}
.compare input { position: absolute; inset: auto 0 0; width: 100%; margin: 0; opacity: 0; pointer-events: none; }
.compare:has(:focus-visible) { outline: 3px solid var(--accent); outline-offset: 3px; }
figcaption { display: flex; justify-content: space-between; padding-top: 0.4rem; color: #9c9c9c; font-size: 0.85rem; }
.steps { margin-top: 1.25rem; overflow-x: auto; background: var(--mat); }
.steps img { display: block; height: auto; max-width: max(100%, 80rem); }
"""

SCRIPT = """
for (const box of document.querySelectorAll(".compare")) {
  const range = box.querySelector("input");
  const show = () => {
    box.style.setProperty("--at", range.value + "%");
    range.setAttribute("aria-valuetext", range.value + " % before, " + (100 - range.value) + " % after");
  };
  const follow = (event) => {
    const edges = box.getBoundingClientRect();
    range.value = (100 * (event.clientX - edges.left)) / edges.width;
    show();
  };
  range.addEventListener("input", show);
  box.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    box.setPointerCapture(event.pointerId);
    range.focus({ preventScroll: true });
    follow(event);
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) follow(event);
  });
  show();
}
"""

"""Makes the environments' pages and GIFs out of their class docstrings and the registry.

python docs/make_environments.py            # docs/environments/*.md and docs/images/<id>.gif
python docs/make_environments.py --pages    # the pages only
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym

import exposure_gym
from exposure_gym.files import replacing

DOCS = Path(__file__).resolve().parent
PHOTOGRAPHS = {"PhotoRetouch-v0": "astronaut", "PhotoRetouchBox-v0": "motorcycle", "PhotoRetouchDiscrete-v0": "rocket"}
"""The sample photograph that each environment's GIF is played on."""
NOTE = "<!-- Made by docs/make_environments.py out of docstrings: change those and run it again. -->"
MANY = "Many Games at Once"


def ids() -> list[str]:
    """The environments that the package registers."""
    return [spec.id for spec in gym.registry.values() if str(spec.entry_point).startswith(exposure_gym.__name__)]


def pages() -> dict[Path, str]:
    """The text of every page by its path: an index, and one page an id."""
    every = {id: gym.make(id).unwrapped for id in ids()}
    links = {type(env).__name__: id for id, env in every.items()}
    folder = DOCS / "environments"
    texts = {folder / f"{id}.md": linked(page(id, env), links, but=id) for id, env in every.items()}
    return {folder / "index.md": index(every)} | texts


def page(id: str, env: Any) -> str:
    """Everything about an environment."""
    summary, body = sections(type(env))
    menu = isinstance(env.action_space, gym.spaces.Discrete)
    parts = [
        NOTE,
        f"# {id}",
        summary,
        f"![An episode of {id}: the photograph, the edits and what each earned](../images/{id}.gif)",
        "*Played by " + ("trying every action and taking the one that earns most.*" if menu else "the shipped agent.*"),
        table(
            ["", ""],
            [
                ["action space", f"`{env.action_space}`"],
                ["observation space", f"`{env.observation_space}`"],
                ["one game", f"`{one_game(id)}`"],
                ["many games", f"`{many_games(id)}`"],
                ["class", f"`exposure_gym.envs.{type(env).__name__}`"],
            ],
        ),
        body,
    ]
    if menu:
        parts += ["## Every Action", every_action(env)]
    return "\n\n".join([*parts, f"## {MANY}", many(id)]) + "\n"


def index(every: dict[str, Any]) -> str:
    """What environments there are."""
    rows = [
        [f"[{id}]({id}.md)", f"`{env.action_space}`", algorithms(type(env)), f"`{one_game(id)}`", f"`{many_games(id)}`"]
        for id, env in every.items()
    ]
    first = next(iter(every))
    return (
        "\n\n".join(
            [
                NOTE,
                "# Environments",
                "One game, with its actions in several forms. `import exposure_gym` registers them with Gymnasium.",
                f"![An episode of {first}](../images/{first}.gif)",
                table(["id", "action space", "for", "one game", "many games, as one batch"], rows),
                f"All observe `{every[first].observation_space}`. How other libraries play them is in "
                "[libraries](../libraries.md).",
            ]
        )
        + "\n"
    )


def one_game(id: str) -> str:
    """How to make it."""
    return f'gym.make("{id}")'


def many_games(id: str) -> str:
    """How to make its batched form."""
    return f'gym.make_vec("{id}", num_envs=64)'


def algorithms(class_: type) -> str:
    """Whom an environment is for: the paragraph of its Description that begins with "For"."""
    description = sections(class_)[1].partition("## Action Space")[0]
    found = re.search(r"^For (.+?)\.$", description, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f'{class_.__name__}: the Description has no paragraph "For ..."')
    return " ".join(found[1].split())


def every_action(env: Any) -> str:
    """A table of the menu of a discrete environment."""
    keys = {action: f"`{key}`" for key, action in env.get_keys_to_action().items()}
    rows = [
        [str(action), keys.get(action, ""), label, env.edit_from_action(action).describe()]
        for action, label in enumerate(env.form.labels)
    ]
    return table(["action", "key", "name", "edit"], rows)


def many(id: str) -> str:
    """About the batched form; its options where they are documented."""
    class_ = gym.envs.registration.load_env_creator(str(gym.spec(id).vector_entry_point))
    assert isinstance(class_, type)
    summary, body = sections(class_)
    if body:
        return f"{summary}\n\n{body}"
    place = f"{ids()[0]}.md#{MANY.lower().replace(' ', '-')}"
    return f"`{many_games(id)}` gives a `{class_.__name__}`, with the options of [{ids()[0]}]({place})."


def sections(class_: type) -> tuple[str, str]:
    """A class docstring as Markdown: the summary, and the rest with its parameters as a table."""
    text = re.sub(r":\w+:`(?:[\w.]*\.)?(\w+)`", r"`\1`", inspect.getdoc(class_) or "")
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    fields = re.compile(r"^:param .*\n(?:(?:    |:param ).*\n)*", re.MULTILINE)
    text = fields.sub(lambda found: parameters(class_, found[0]), text + "\n")
    summary, _, body = text.strip().partition("\n\n")
    return " ".join(summary.split()), body


def parameters(class_: type, fields: str) -> str:
    """``:param name: ...`` fields as a table, with the defaults of the signature."""
    known = inspect.signature(class_).parameters
    rows = []
    for field in re.split(r"^:param ", fields, flags=re.MULTILINE)[1:]:
        name, _, meaning = field.partition(": ")
        default = known[name].default
        shown = f'"{default}"' if isinstance(default, str) else str(default)
        has_one = default is not inspect.Parameter.empty
        rows.append([f"`{name}`", f"`{shown}`" if has_one else "", " ".join(meaning.split())])
    return table(["argument", "default", "meaning"], rows) + "\n"


def linked(text: str, links: dict[str, str], but: str) -> str:
    """Mentions of other environments' classes as links to their pages."""
    for name, id in links.items():
        if id != but:
            text = text.replace(f"`{name}`", f"[`{name}`]({id}.md)")
    return text


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(gifs: bool) -> None:
    """Write the pages and, unless told otherwise, the GIFs."""
    (DOCS / "environments").mkdir(exist_ok=True)
    for path, text in pages().items():
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(path)
    if not gifs:
        return
    from episode_gif import write_gif

    from exposure_gym.data import sample_photos

    for id, name in PHOTOGRAPHS.items():
        path = DOCS / "images" / f"{id}.gif"
        write_gif(path, id, sample_photos()[name])
        print(path)


if __name__ == "__main__":
    if set(sys.argv[1:]) - {"--pages"}:
        sys.exit(f"unknown argument {sys.argv[1]}: give --pages or nothing")
    main(gifs="--pages" not in sys.argv)

"""The blocks of docs/libraries.md, for the tests that run them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "libraries.md"


def snippet(heading: str, **smaller: str) -> str:
    """The one block under a heading of the page.

    :param smaller: what to write instead of an option's value, as in ``num_envs="2"`` for ``num_envs=64``.
    :raises ValueError: if the block has no such option.
    """
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```\w+\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for option, value in smaller.items():
        block, count = re.subn(rf"\b{option}=[\w.]+", f"{option}={value}", block)
        if not count:
            raise ValueError(f"the block under {heading!r} has no {option}")
    return str(block)


def run(block: str) -> dict[str, Any]:
    """Execute a block of Python as a script; its names afterwards."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, str(PAGE), "exec"), names)
    return names

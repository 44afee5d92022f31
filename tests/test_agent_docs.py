"""The pages of the agents for hybrid actions: their tables are the docstrings, and their examples run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from exposure_gym.agents import PDQN, HybridPPO

PAGES = Path(__file__).resolve().parents[1] / "docs" / "agents"
AGENTS: dict[str, type[Any]] = {"hybrid_ppo": HybridPPO, "pdqn": PDQN}
SMALLER = {
    r"SB3VecEnv\(16, ": 'SB3VecEnv(2, reward="reference", image_size=16, ',
    r"n_steps=\d+": "n_steps=8",
    r"batch_size=128": "batch_size=16",
    r"buffer_size=[\d_]+": "buffer_size=64, learning_starts=4, batch_size=4",
    r"total_timesteps=[\d_]+": "total_timesteps=16",
}
"""What the examples are run with instead."""


def parameter_table(agent: type[Any]) -> str:
    """The keywords of an agent with their defaults, and what its docstring says of each."""
    told = dict(re.findall(r":param (\w+): (.*?)(?=\n\s*:|\Z)", inspect.getdoc(agent) or "", re.DOTALL))
    lines = ["| parameter | default | |", "|---|---|---|"]
    for name, parameter in inspect.signature(agent.__init__).parameters.items():
        if name in ("self", "_init_setup_model"):
            continue
        default = "" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
        text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", " ".join(told[name].split())).replace("``", "`")
        lines.append(f"| `{name}` | {default} | {text} |")
    return "\n".join(lines)


@pytest.mark.parametrize("name", AGENTS)
def test_parameters_are_those_of_the_docstring(name: str) -> None:
    assert parameter_table(AGENTS[name]) in (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", AGENTS)
def test_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (PAGES / f"{name}.md").read_text(encoding="utf-8"), re.M | re.S)
    assert blocks
    for block in blocks:
        for written, smaller in SMALLER.items():
            block = re.sub(written, smaller, block)
        exec(compile(block, name, "exec"), {"__name__": "__main__"})

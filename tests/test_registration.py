"""The environments' names are there whenever Gymnasium is, and Gymnasium is not there for them."""

from __future__ import annotations

import subprocess
import sys

import pytest

NAMES = "['PhotoRetouch-v0', 'PhotoRetouchBox-v0', 'PhotoRetouchDiscrete-v0']\n"


@pytest.mark.parametrize(
    "imports",
    [
        "import exposure_gym, gymnasium",
        "import gymnasium, exposure_gym",
        "import exposure_gym; from gymnasium.envs.registration import EnvSpec; import gymnasium",
        "import exposure_gym.envs, gymnasium",
        "import exposure_gym as e; from importlib import reload; reload(e); import gymnasium; reload(e)",
        "import gymnasium; gymnasium.make('exposure_gym:PhotoRetouch-v0')",
        "import exposure_gym, threading as t; w = t.Thread(target=lambda: __import__('gymnasium')); w.start(); "
        "import gymnasium; w.join()",
    ],
)
def test_environments_are_registered_in_any_order(imports: str) -> None:
    code = f"{imports}; print(sorted(name for name in gymnasium.registry if name.startswith('Photo')))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, NAMES, "")


def test_gymnasium_stays_what_it_is() -> None:
    code = (
        "import sys; before = list(sys.meta_path); import exposure_gym, gymnasium; assert sys.meta_path == before;"
        "assert type(gymnasium.__spec__.loader).__name__ == 'SourceFileLoader'; gymnasium.spec('CartPole-v1')"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_package_alone_imports_nothing_else() -> None:
    code = "import sys, exposure_gym; sys.exit(bool({'gymnasium', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

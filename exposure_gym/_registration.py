"""The environments' names for Gymnasium, given as soon as there is one: who only edits photographs need not load it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


def register() -> None:
    """Register the environments; those that are stay what they are."""
    import gymnasium

    for form in ("", "Box", "Discrete"):
        if f"PhotoRetouch{form}-v0" not in gymnasium.registry:
            gymnasium.register(
                id=f"PhotoRetouch{form}-v0",
                entry_point=f"exposure_gym.envs:PhotoRetouch{form}Env",
                vector_entry_point=f"exposure_gym.envs:PhotoRetouch{form}VectorEnv",
            )


def register_with_gymnasium() -> None:
    """Register the environments now if Gymnasium is imported, or else right after it is."""
    if "gymnasium" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterGymnasium) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterGymnasium())


class _AfterGymnasium:
    """A finder of modules that finds Gymnasium where everyone does, and has it followed by the registration."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "gymnasium":
            return None
        from importlib.util import find_spec

        sys.meta_path.remove(self)
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec

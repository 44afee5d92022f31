"""What algorithms for hybrid actions share: a random state of their own, files that are never half written."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.type_aliases import GymEnv

from exposure_gym.files import replacing

SelfHybrid = TypeVar("SelfHybrid", bound="HybridAlgorithm")


class OwnRandomness:
    """Lends an agent the global generators of NumPy and torch, which Stable-Baselines3 draws from, and takes them back.

    While it is active they are in the agent's state; afterwards in the one they were found in.

    :param device: of the agent.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._own: tuple[Any, ...] | None = None
        self._active = False

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use the agent's state; within itself it does nothing."""
        if self._active:
            yield
            return
        outside = self._get()
        self._active = True
        try:
            if self._own is not None:
                self._set(self._own)
            yield
        finally:
            self._own = self._get()
            self._set(outside)
            self._active = False

    def seed(self, seed: int) -> None:
        """Start the agent's state anew."""
        with self.active():
            np.random.seed(seed)  # noqa: NPY002  (what Stable-Baselines3's buffers draw from)
            torch.default_generator.manual_seed(seed)
            if self.device.type == "cuda":
                torch.cuda.manual_seed(seed)

    def _get(self) -> tuple[Any, ...]:
        cuda = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002

    def _set(self, state: tuple[Any, ...]) -> None:
        np.random.set_state(state[0])  # noqa: NPY002
        torch.set_rng_state(state[1])
        if state[2] is not None:
            torch.cuda.set_rng_state(state[2], self.device)


class HybridAlgorithm(BaseAlgorithm):
    """To be named before an algorithm of Stable-Baselines3 among the bases of one for hybrid actions."""

    _randomness: OwnRandomness

    def set_random_seed(self, seed: int | None = None) -> None:
        """Seed the agent's own random state and its environment's; no global random state is touched.

        :param seed: below 2^32; ``None`` draws one.
        """
        if seed is None:
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self.seed = seed
        if not hasattr(self, "_randomness"):
            self._randomness = OwnRandomness(self.device)
        self._randomness.seed(seed)
        self.action_space.seed(seed)
        if self.env is not None:
            self.env.seed(seed)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_randomness"]

    def save(
        self,
        path: str | Path | io.BufferedIOBase,
        exclude: Iterable[str] | None = None,
        include: Iterable[str] | None = None,
    ) -> None:
        """Save as Stable-Baselines3 does, a zip file (the suffix is added), but written beside and renamed.

        :param path: of the file, or a file object.
        :param exclude: attributes to leave out as well.
        :param include: attributes to keep that are left out otherwise.
        """
        if isinstance(path, io.BufferedIOBase):
            super().save(path, exclude, include)
            return
        path = Path(path)
        if not path.suffix:
            path = path.with_name(path.name + ".zip")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            super().save(file, exclude, include)

    @classmethod
    def load(
        cls: type[SelfHybrid],
        path: str | Path | io.BufferedIOBase,
        env: GymEnv | None = None,
        device: torch.device | str = "auto",
        custom_objects: dict[str, Any] | None = None,
        print_system_info: bool = False,
        force_reset: bool = True,
        **kwargs: Any,
    ) -> SelfHybrid:
        """Load what :meth:`save` wrote. Stable-Baselines3's files are pickles: load only what you trust.

        :param path: of the file, or a file object.
        :param env: to learn from; not needed for acting.
        :param device: to run on.
        :param custom_objects: to take instead of those in the file.
        :param print_system_info: of when it was saved.
        :param force_reset: start with a new episode.
        :param kwargs: change hyperparameters.
        :raises ValueError: when the file is not one of this algorithm, or not for this environment, in one line.
        """
        try:
            return super().load(path, env, device, custom_objects, print_system_info, force_reset, **kwargs)
        except FileNotFoundError:
            raise ValueError(f"{path}: there is no such file") from None
        except (OSError, KeyboardInterrupt):
            raise
        except Exception as error:  # a damaged pickle may raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path}: cannot be loaded as {cls.__name__} here ({reason})") from None

"""Wrappers, each for single environments and for batched ones: other action forms, and pictures of 8 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import VectorActionWrapper, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from exposure_gym.color import srgb_encode
from exposure_gym.envs.actions import FORMS, ActionForm, HybridActions, Translated
from exposure_gym.envs.photo_retouch import PhotoRetouchEnv
from exposure_gym.envs.vector import PhotoRetouchVectorEnv

if TYPE_CHECKING:
    _ActionWrapper = VectorActionWrapper[Any, Any, Any, Any]
    _Wrapper = VectorWrapper[Any, Any, Any, Any, Any]
else:  # classes that Gymnasium 1.2 has not made generic yet
    _ActionWrapper, _Wrapper = VectorActionWrapper, VectorWrapper


class FlatAction(Translated, gym.ActionWrapper[Any, Any, Any], RecordConstructorArgs):
    """Play ``PhotoRetouch-v0``, wrapped or not, with the actions of another form.

    ``FlatAction(env, "box")`` takes the actions of ``PhotoRetouchBox-v0`` and ``FlatAction(env, "discrete")`` those of
    ``PhotoRetouchDiscrete-v0``.

    :param env: a PhotoRetouch environment with its own, hybrid, actions.
    :param form: ``"box"`` or ``"discrete"``.
    :raises ValueError: for an unknown form, or an environment that has none or another.
    """

    def __init__(self, env: gym.Env[Any, Any], form: str = "box") -> None:
        RecordConstructorArgs.__init__(self, form=form)
        super().__init__(env)
        self.form = _form(env.unwrapped, form)
        self.action_space = self.form.space

    def action(self, action: Any) -> dict[str, Any]:
        """The hybrid action for this one."""
        index, parameters = self.form.decode_one(action)
        return {"filter": index, "parameters": parameters[0]}


class FlatActionVector(Translated, _ActionWrapper):
    """:class:`FlatAction` for batched environments.

    :param env: a batched PhotoRetouch environment with its own, hybrid, actions.
    :param form: ``"box"`` or ``"discrete"``.
    :raises ValueError: for an unknown form, or an environment that has none or another.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], form: str = "box") -> None:
        super().__init__(env)
        self.form = _form(env.unwrapped, form)
        self.single_action_space = self.form.space
        self.action_space = batch_space(self.form.space, env.num_envs)

    def actions(self, actions: Any) -> dict[str, Any]:
        """The hybrid actions for these."""
        index, parameters = self.form.decode(actions, self.num_envs)
        return {"filter": index, "parameters": parameters}


class PreviewObservation(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """Show the picture as a person would see it: 8-bit sRGB, ``image=Box(0, 255, (S, S, 3), uint8)``.

    Before the first edit the picture is linear light, far too dark for a screen and for 8 bits: it is shown with the
    sRGB curve. After that its values are display values in the making, and shown as they are, clipped to [0, 1]. So
    the picture darkens with the first edit unless that brings a curve of its own, which is what there is to learn;
    ``step``, which is 0 only before, tells the two apart. The rest of the observation is unchanged. Shadows of a
    dark picture keep only a few of the 256 codes: the float observation keeps them all.

    :param env: a PhotoRetouch environment in any form.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        self.observation_space = _preview_space(env.observation_space)

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The same with an 8-bit picture."""
        base = self.env.unwrapped
        assert isinstance(base, PhotoRetouchEnv)
        linear = np.array([observation["step"] == 0 and not base.photos.display_inputs])
        return observation | {"image": _preview(observation["image"][None], linear)[0]}


class PreviewObservationVector(_Wrapper):
    """:class:`PreviewObservation` for batched environments, of arrays or of tensors, in every autoreset mode.

    :param env: a batched PhotoRetouch environment in any form.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        assert isinstance(env.single_observation_space, spaces.Dict)
        self.single_observation_space = _preview_space(env.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        observations, infos = self.env.reset(seed=seed, options=options)
        return self.observations(observations), infos

    def step(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, dict[str, Any]]:
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        if "final_obs" in infos:
            for row in np.flatnonzero(infos["_final_obs"]):
                final = infos["final_obs"][row]
                batch = self.observations({key: value[None] for key, value in final.items()})
                infos["final_obs"][row] = {key: value[0] for key, value in batch.items()}
        return self.observations(observations), rewards, terminations, truncations, infos

    def observations(self, observations: dict[str, Any]) -> dict[str, Any]:
        """The same with 8-bit pictures."""
        base = self.env.unwrapped
        assert isinstance(base, PhotoRetouchVectorEnv)
        linear = (observations["step"] == 0) & (not base.photos.display_inputs)
        return observations | {"image": _preview(observations["image"], linear)}


def _form(env: Any, name: str) -> ActionForm:
    if name not in FORMS:
        raise ValueError(f"unknown form {name!r}: choose from {', '.join(FORMS)}")
    if not isinstance(getattr(env, "form", None), HybridActions):
        raise ValueError(f"{env} has no hybrid actions to translate to: give a PhotoRetouch-v0 environment")
    return FORMS[name](env.game, env.form.device)


def _preview_space(space: spaces.Dict) -> spaces.Dict:
    picture = space["image"]
    return spaces.Dict(dict(space.spaces) | {"image": spaces.Box(0, 255, picture.shape, np.uint8)})


def _preview(image: Any, linear: Any) -> Any:
    """Codes of pictures ``(B, S, S, 3)``, array or tensor; those that are linear, ``(B,)`` bool, get the sRGB curve."""
    display = image.clip(0.0, 1.0)
    if linear.any():
        display = _where(linear[:, None, None, None], srgb_encode(display), display)
    codes = (255.0 * display + 0.5).clip(0.0, 255.0)
    return codes.to(torch.uint8) if isinstance(codes, torch.Tensor) else codes.astype(np.uint8)


def _where(mask: Any, yes: Any, no: Any) -> Any:
    return torch.where(mask, yes, no) if isinstance(yes, torch.Tensor) else np.where(mask, yes, no)

"""Generated scenes in linear light, each with the finished photograph that could have been made of
it.

A scene is painted (`exposure_gym.data.painters`), lit by a sun and a sky of different colour
temperatures, photographed by a camera that is set too dark or too bright and knows nothing of white
balance, and finished by a person who knows what the light was. Nothing is downloaded or stored: the
state of a generator is the scene.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exposure_gym.color import LUMINANCE_WEIGHTS, srgb_encode
from exposure_gym.data.painters import PAINTERS, SHARES, Plane


class Scene(NamedTuple):
    """One scene as a RAW file holds it, and the same scene finished.

    Both are ``(S, S, 3)`` float32.
    """

    linear: Plane
    """Linear light, sRGB primaries, 0 to sensor white 1.0: unbalanced, noisy, mostly dark, some
    clipped.
    """
    display: Plane
    """sRGB codes / 255: white-balanced, well exposed, with a tone curve."""


def generate_scene(rng: np.random.Generator, size: int = 80) -> Scene:
    """Paint, light, photograph and finish one scene.

    :param rng: the only source of chance: one state, one scene.
    :param size: edge in pixels.
    """
    painter = PAINTERS[rng.choice(len(PAINTERS), p=SHARES)]
    surface = painter(rng, size)
    sunlight, skylight = _lights(rng)
    light = surface.sun[..., None] * sunlight + skylight
    radiance = surface.colour * light
    if surface.sky is not None:
        radiance = radiance + surface.sky
    radiance = np.maximum(radiance, 1e-4, dtype=np.float32)
    neutral = sunlight * float(surface.sun.mean()) + skylight
    linear = _photograph(rng, radiance)
    return Scene(linear, _finish(rng, radiance, np.asarray(neutral / neutral.mean(), np.float32)))


def _lights(rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Light of sun and sky on white paper: evening to noon, clear or overcast, sometimes a room."""
    weather = rng.random()
    if weather < 0.15:  # a room: warm lamps, a little window light
        return _light(rng, 0.6, 1.2, 1.0), _light(rng, 0.0, 0.5, 0.18)
    if weather < 0.35:  # overcast: soft and bluish
        return _light(rng, -0.2, 0.0, 0.35), _light(rng, -0.35, -0.1, 0.65)
    return _light(rng, 0.0, 0.5, 1.0), _light(rng, -0.7, -0.3, rng.uniform(0.1, 0.3))


def _light(rng: np.random.Generator, cool: float, warm: float, strength: float) -> Plane:
    """RGB of white paper, G = strength. Warmth 1 is near 3500 K, 0.5 near 4500 K, 0 near 6700 K,
    -0.5 near 14000 K.
    """
    warmth = rng.uniform(cool, warm)
    return (strength * np.exp([0.55 * warmth, 0.0, -0.9 * warmth])).astype(np.float32)


def _photograph(rng: np.random.Generator, radiance: Plane) -> Plane:
    """Expose -4 to +1.5 EV around a normal exposure, add a sensor's cast and noise, clip at sensor
    white.
    """
    normal = 0.18 / _log_mean(radiance)
    exposure = normal * 2.0 ** rng.triangular(-4.0, -1.8, 1.5)
    cast = np.exp(rng.normal(0.0, 0.12, 3))  # a sensor's primaries and a wrong white balance
    signal = radiance * (exposure * cast / cast.max()).astype(np.float32)
    shot = 10.0 ** rng.uniform(-3.0, -2.2)
    noise = rng.standard_normal(signal.shape, dtype=np.float32)
    signal += noise * np.sqrt(np.float32(shot**2) * signal + np.float32((0.05 * shot) ** 2))
    return np.asarray(np.clip(signal, 0.0, 1.0), np.float32)


def _finish(rng: np.random.Generator, radiance: Plane, neutral: Plane) -> Plane:
    """Balance, expose and grade the scene as a careful person would."""
    balanced = radiance / neutral ** np.float32(rng.uniform(0.75, 1.0))  # a trace of the light's colour may stay
    key = 2.0 ** rng.uniform(-3.4, -1.8)  # low key to high key around a middle grey
    exposed = balanced * np.float32(key / _log_mean(balanced))
    white = max(float(np.quantile(exposed[::2, ::2], 0.99)), 0.8)
    rolled = exposed * (1 + exposed / white**2) / (1 + exposed)  # Reinhard et al. 2002, equation 4
    grey = (rolled @ np.array(LUMINANCE_WEIGHTS, np.float32))[..., None]
    vivid = np.clip(grey + (rolled - grey) * np.float32(rng.uniform(0.95, 1.2)), 0.0, 1.0)
    codes = srgb_encode(vivid)
    contrast = np.float32(rng.uniform(0.2, 0.6))
    curved = codes * codes * (3 - 2 * codes)
    return np.asarray(codes + contrast * (curved - codes), np.float32)


def _log_mean(image: Plane) -> float:
    """Geometric mean of the luminance: what an exposure meter that ignores highlights reads."""
    return float(np.exp(np.log(image @ np.array(LUMINANCE_WEIGHTS, np.float32) + 1e-3).mean()))

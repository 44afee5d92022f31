"""Sets of square photo crops, and the pair of sets that a game is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import SPACE_NAMES, Space

if TYPE_CHECKING:
    from exposure_gym.photo import Reading

Domain = Literal["linear", "display"]
Brightness = Literal["as-is", "raw-like"]


class Draw(NamedTuple):
    """Which crops are drawn, and how each is cut: `count` entries in every array."""

    indices: NDArray[np.intp]
    tops: NDArray[np.intp]
    lefts: NDArray[np.intp]
    flips: NDArray[np.bool_]
    size: int


class PhotoSet:
    """An ordered set of square crops of photographs, all in one domain.

    ``domain="linear"``: linear light in the working space, 1.0 = sensor white: where an edit
    starts. ``domain="display"``: sRGB codes / 255, never linearised: where an edit ends.

    :param crops: ``(N, 3, S, S)``, float32 or float16; a ``numpy.memmap`` stays on disk.
    :param domain: what the values are.
    :param names: N names, one a crop; several crops of a photo share its name.
    :param space: the primaries of the values, ``"srgb"``, ``"rec2020"`` (both D65) or ``"prophoto"`` (D50).
    :param brightness: how linear photos were read, see `exposure_gym.photo.read_linear`; a model remembers it.
    :raises ValueError: wrong shape, dtype or number of names, no such domain or space, or no crop at all.
    """

    def __init__(
        self,
        crops: NDArray[Any],
        domain: Domain,
        names: Sequence[str],
        space: Space = "srgb",
        brightness: Brightness = "as-is",
    ) -> None:
        if crops.ndim != 4 or crops.shape[1] != 3 or crops.shape[2] != crops.shape[3] or 0 in crops.shape:
            raise ValueError(f"a photo set holds (N, 3, S, S) crops, N at least 1, not {crops.shape}")
        if crops.dtype not in (np.dtype(np.float32), np.dtype(np.float16)):
            raise ValueError(f"a photo set holds float32 or float16, not {crops.dtype}")
        if domain not in ("linear", "display"):
            raise ValueError(f'domain is "linear" or "display", not {domain!r}')
        if space not in SPACE_NAMES:
            raise ValueError(f'space is "srgb", "prophoto" or "rec2020", not {space!r}')
        if len(names) != len(crops):
            raise ValueError(f"{len(crops)} crops need as many names, not {len(names)}")
        self.crops = crops
        self.domain: Domain = domain
        self.names = tuple(names)
        self.space: Space = space
        self.brightness: Brightness = brightness

    def __len__(self) -> int:
        return len(self.crops)

    def __repr__(self) -> str:
        photos = len(set(self.names))
        return f"PhotoSet({len(self)} {self.domain} crops of {photos} photos, {self.size} pixels)"

    @property
    def size(self) -> int:
        """Edge S of the stored crops, in pixels."""
        return int(self.crops.shape[-1])

    def get(self, index: int, size: int = 64) -> NDArray[np.float32]:
        """Return crop `index` whole and resized (``INTER_AREA``): the published code tests so.

        :return: ``(3, size, size)``, a copy.
        """
        pixels = np.array(self.crops[index], np.float32)
        if size == self.size:
            return pixels
        resized = cv2.resize(pixels.transpose(1, 2, 0), (size, size), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(resized.transpose(2, 0, 1))

    def sample(self, count: int, rng: np.random.Generator, size: int = 64) -> NDArray[np.float32]:
        """Draw `count` augmented crops.

        The set keeps no state: `rng` alone decides what comes, and saving it saves the order.

        :return: ``(count, 3, size, size)``, values unchanged.
        """
        return self.cut(self.draw(count, rng, size))

    def draw(self, count: int, rng: np.random.Generator, size: int = 64) -> Draw:
        """Choose photos, crop positions and mirrorings for `cut`.

        No photo comes twice before all have come once. Crops are at a random place, mirrored
        left-right half of the time (published code: ``augment`` in its data providers, 64 of 80
        pixels).

        :raises ValueError: `size` is larger than the stored crops.
        """
        self._check(size)
        whole, rest = divmod(count, len(self))
        rounds = [rng.permutation(len(self)) for _ in range(whole)]
        indices = np.concatenate([*rounds, rng.choice(len(self), rest, replace=False)])
        tops, lefts = rng.integers(0, self.size - size + 1, (2, count))
        return Draw(indices, tops, lefts, rng.random(count) < 0.5, size)

    def draw_each(self, rngs: Sequence[np.random.Generator], size: int = 64) -> Draw:
        """Choose one crop with each generator, as games do that start anew, each for itself.

        :raises ValueError: `size` is larger than the stored crops.
        """
        self._check(size)
        shifts = self.size - size + 1
        chances = np.array([rng.random(4) for rng in rngs]).reshape(-1, 4)
        indices, tops, lefts, flips = (chances * (len(self), shifts, shifts, 2)).astype(np.intp).T
        return Draw(indices, tops, lefts, flips == 1, size)

    def _check(self, size: int) -> None:
        if not 1 <= size <= self.size:
            raise ValueError(f"crops of {size} pixels can't be cut from a set stored at {self.size}")

    def cut(self, draw: Draw) -> NDArray[np.float32]:
        """Return the crops of a `Draw`, ``(count, 3, size, size)``."""
        out = np.empty((len(draw.indices), 3, draw.size, draw.size), np.float32)
        for row, crop in zip(out, self.views(draw), strict=True):
            row[:] = crop
        return out

    def views(self, draw: Draw) -> Iterator[NDArray[Any]]:
        """Yield the crops of a `Draw`, ``(3, size, size)``, as they are stored: nothing is copied."""
        size = draw.size
        for index, top, left, flip in zip(*(part.tolist() for part in draw[:4]), strict=True):
            crop = self.crops[index, :, top : top + size, left : left + size]
            yield crop[:, :, ::-1] if flip else crop

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        domain: Domain,
        *,
        size: int = 80,
        crops: int | None = None,
        brightness: Brightness = "as-is",
        space: Space = "srgb",
        max_megapixels: float = 200.0,
        seed: int = 0,
        cache: Path | None = None,
        on_error: Callable[[Path, ValueError], None] | None = None,
    ) -> PhotoSet:
        """Read the photographs of a folder and keep square crops, as the published code does.

        :param folder: searched as `exposure_gym.photo.list_photos` does, in that order.
        :param domain: ``"linear"`` reads light, ``"display"`` reads codes.
        :param size: edge of the stored crops, averaged down with ``INTER_AREA``.
        :param crops: random squares a photo, as wide as its shorter edge. By default 4 for linear
            photos and for display photos the one in the centre (published ``FiveKDataProvider`` and
            ``ArtistDataProvider``). Photos of equal shapes in the same order get equal squares from
            equal seeds.
        :param brightness: linear only: ``"raw-like"`` darkens finished photos, see
            `exposure_gym.photo.read_linear`.
        :param space: linear only: the working space.
        :param max_megapixels: larger photos are refused.
        :param seed: of the positions of the squares.
        :param cache: keep the crops in this folder, and map them from there the next time: see
            `exposure_gym.data.crop_cache`.
        :param on_error: called with a photo that can't be read and the reason, and the photo is
            left out. Without it such a photo raises.
        :raises PhotoError: a photo can't be read, and no `on_error` was given.
        :raises ValueError: there is no photo, or a linear option came with ``domain="display"``.
        """
        # with the decoders, which the built-in set has no use for
        from exposure_gym.data.crop_cache import read_crops
        from exposure_gym.data.crops import Cut
        from exposure_gym.photo import list_photos

        if domain == "display" and (brightness != "as-is" or space != "srgb"):
            raise ValueError('brightness and space are for domain="linear": display values are taken as they are')
        if crops is None and domain == "linear":
            crops = 4
        shots = [(path,) for path in list_photos([Path(folder)])]
        if not shots:
            raise ValueError(f"{folder}: no readable photograph; give a folder of TIFF, JPEG, PNG or RAW files")
        reading: Reading = "raw-like" if brightness == "raw-like" else domain
        cut = Cut((reading,), crops, size, space, max_megapixels, seed)
        pixels, names = read_crops(shots, cut, cache=cache, on_error=on_error)
        return cls(pixels, domain, names, space, brightness)


@dataclass(frozen=True)
class Photos:
    """What a game starts from and what finished photographs look like.

    The two readings can't be swapped: edits start in linear light and end in display values.

    :param inputs: a linear set.
    :param targets: a display set.
    :param paired: crop i of `targets` is the finished version of crop i of `inputs`.
    :param display_inputs: allow (and require) `inputs` to hold display values: the published Sintel
        example starts from finished film frames without linearising them.
    :raises ValueError: a set is in the wrong domain, or paired sets differ in number or size.
    """

    inputs: PhotoSet
    targets: PhotoSet
    paired: bool = False
    display_inputs: bool = False

    def __post_init__(self) -> None:
        expected = "display" if self.display_inputs else "linear"
        if self.inputs.domain != expected:
            raise ValueError(
                f"inputs must be a {expected} photo set, not {self.inputs.domain}; "
                "display_inputs=True is for games that start from display values"
            )
        if self.targets.domain != "display":
            raise ValueError(f"targets must be a display photo set, not {self.targets.domain}")
        if self.paired and self.inputs.crops.shape != self.targets.crops.shape:
            shapes = f"{self.inputs.crops.shape} and {self.targets.crops.shape}"
            raise ValueError(f"paired sets must be alike, not {shapes}")

    @property
    def reading(self) -> Reading:
        """How the inputs were read: what a model that learns from them must be given."""
        if self.display_inputs:
            return "display"
        return "raw-like" if self.inputs.brightness == "raw-like" else "linear"

    def sample_pairs(
        self, count: int, rng: np.random.Generator, size: int = 64
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Draw inputs and their finished versions, cut alike: two ``(count, 3, size, size)``.

        :raises ValueError: the sets are not paired.
        """
        if not self.paired:
            raise ValueError("these photos are not paired: sample inputs and targets apart")
        draw = self.inputs.draw(count, rng, size)
        return self.inputs.cut(draw), self.targets.cut(draw)

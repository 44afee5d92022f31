"""Recipe: an edit that a person can read, change, keep and apply again at any size.

A recipe is a list of edits in physical parameters (stops, gains, slopes). It takes linear light in
its working space and gives display values, as the filters do: no curve is added afterwards. NumPy
arrays need no torch here. The JSON form is described in ``docs/recipe.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from exposure_gym.color import Space
from exposure_gym.files import replacing
from exposure_gym.filters import (
    MASK_NAMES,
    Filter,
    apply_masked,
    filters_by_name,
    mask_physical,
)

if TYPE_CHECKING:
    from exposure_gym.recipe_export import LutError
    from exposure_gym.recipe_xmp import Program, XmpReport

MAX_FILE_BYTES = 1_000_000
"""A recipe file is a few kilobytes; anything past this is not one."""

PARAMETER_BOUND = 100.0
"""A recipe written by hand may leave the range that an agent can reach, but not this one (2^100 is
still finite)."""

TILE_PIXELS = 16_384
"""Pixels that one thread edits at a time: all intermediate results then stay in a core's cache."""

WorkingSpace = Space
InputDomain = Literal["linear", "display"]


@dataclass(frozen=True)
class Edit:
    """One filter with its physical parameters.

    :param filter: name of a filter, e.g. ``"exposure"`` (see
        :data:`exposure_gym.filters.ALL_FILTERS`).
    :param parameters: its ``k`` physical parameters, in the order of ``Filter.parameter_names``.
    :param mask: six parameters of a local mask (:func:`exposure_gym.filters.local_mask`), or None:
        everywhere alike.
    :raises ValueError: unknown filter, wrong number of parameters, or a value that is no usable
        number.
    """

    filter: str
    parameters: tuple[float, ...]
    mask: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        filter_ = self.function
        object.__setattr__(self, "parameters", _numbers(self.parameters, filter_.parameter_names, self.filter))
        if self.mask is not None:
            object.__setattr__(self, "mask", _numbers(self.mask, MASK_NAMES, f"mask of {self.filter}"))
        if filter_.low > 0 and min(self.parameters) <= 0:
            raise ValueError(f"{self.filter}: every parameter must be above 0, not {min(self.parameters):g}")
        if self.filter == "level" and self.parameters[0] > self.parameters[1]:
            raise ValueError("level: black must not be above white")

    @classmethod
    def from_action(
        cls,
        filter: str,
        action: Sequence[float] | NDArray[Any],
        mask: Sequence[float] | NDArray[Any] | None = None,
    ) -> Edit:
        """The edit that a filter's block of an action vector stands for.

        :param action: ``(num_actions,)`` in [-1, 1]; :param mask: ``(6,)`` in [-1, 1].
        """
        block = np.asarray(action, dtype=np.float64)
        parameters = filters_by_name([filter])[0].physical(block[None])[0]
        return cls(
            filter,
            tuple(parameters),
            None if mask is None else tuple(mask_physical(np.asarray(mask))),
        )

    @property
    def function(self) -> Filter:
        """The filter itself."""
        return filters_by_name([self.filter])[0]

    def describe(self) -> str:
        """As a person would say it: ``"exposure +1.3 EV"``."""
        from exposure_gym.recipe_words import describe

        return describe(self)

    __str__ = describe


@dataclass(frozen=True)
class Recipe:
    """A list of edits, applied from first to last.

    :param edits: the edits.
    :param working_space: RGB primaries of the linear input: ``"srgb"``, ``"prophoto"`` or ``"rec2020"``. The
        result has the same ones.
    :param source: the photo it was made for, e.g. its file name; only kept.
    :param comment: anything worth saying; only kept.
    :param input_domain: what the edits start from: ``"linear"`` light, or ``"display"`` values (codes / 255) for an
        edit of a finished photograph, as :func:`exposure_gym.explain.explain` finds them.
    """

    edits: tuple[Edit, ...] = ()
    working_space: WorkingSpace = "srgb"
    source: str = ""
    comment: str = ""
    input_domain: InputDomain = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        if not all(isinstance(edit, Edit) for edit in self.edits):
            raise ValueError("a recipe is made of Edit objects")
        if self.working_space not in get_args(WorkingSpace):
            raise ValueError(f"working_space must be 'srgb', 'prophoto' or 'rec2020', not {self.working_space!r}")
        if self.input_domain not in get_args(InputDomain):
            raise ValueError(f"input_domain must be 'linear' or 'display', not {self.input_domain!r}")

    def __add__(self, edit: Edit) -> Recipe:
        """This recipe with one more edit at the end."""
        return replace(self, edits=(*self.edits, edit)) if isinstance(edit, Edit) else NotImplemented

    def __len__(self) -> int:
        return len(self.edits)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    def apply(self, image: Any) -> Any:
        """Edit images.

        A torch tensor is edited whole, on its device, and the result is differentiable. A NumPy
        array is edited in tiles that fit the cache, on all cores, so that a large photograph needs
        no memory but its result's.

        :param image: ``(B, 3, H, W)`` or ``(3, H, W)`` NumPy array (float32 or float64) or torch
            tensor, linear light in the working space, at least 0. It is not changed.
        :return: the same kind, shape and type: display values, not clipped unless a filter does.
        :raises ValueError: another shape or type.
        """
        _check(image, ndims=(3, 4), channels=-3)
        if not isinstance(image, np.ndarray):
            return self._apply_tensor(image) if image.ndim == 4 else self._apply_tensor(image[None])[0]
        output: NDArray[Any] = np.empty(image.shape, image.dtype)
        views = (image, output) if image.ndim == 4 else (image[None], output[None])
        for source, target in zip(*views, strict=True):
            if self._has_kernels(image):
                from exposure_gym.fused import edit_planes

                edit_planes(self.edits, source, target)
                continue
            self._apply_rows(source.transpose(1, 0, 2)[:, :, None], target.transpose(1, 0, 2)[:, :, None])
        return output

    def apply_photo(self, pixels: Any, out: NDArray[Any] | None = None) -> Any:
        """As :meth:`apply`, for a photograph: ``(H, W, 3)`` in, ``(H, W, 3)`` out.

        :param out: NumPy only: write the result here and return it. ``out=pixels`` edits the photo in place, which
            saves the time and the memory of a second one.
        :raises ValueError: ``out`` has another shape or type than ``pixels``.
        """
        _check(pixels, ndims=(3,), channels=-1)
        in_numpy = isinstance(pixels, np.ndarray)
        if out is not None and not (in_numpy and (out.dtype, out.shape) == (pixels.dtype, pixels.shape)):
            raise ValueError(f"out must be an array like the photo, not {out.dtype} {out.shape}")
        if not in_numpy:
            return self.apply(pixels.permute(2, 0, 1)).permute(1, 2, 0)
        output = np.empty(pixels.shape, pixels.dtype) if out is None else out
        # A tile is read before it is written, so both may be the same array.
        if self._has_kernels(pixels):
            from exposure_gym.fused import edit_pixels

            edit_pixels(self.edits, pixels, output)
            return output
        self._apply_rows(pixels.transpose(0, 2, 1)[:, :, None], output.transpose(0, 2, 1)[:, :, None])
        return output

    def _has_kernels(self, image: NDArray[Any]) -> bool:
        """Whether compiled loops can edit a NumPy array: to 1e-5 what the filters do, in a fraction of the time."""
        if image.dtype != np.float32:
            return False
        from exposure_gym.fused import covers

        return covers(self.edits)

    def _apply_tensor(self, image: Any) -> Any:
        for edit in self.edits:
            parameters = image.new_tensor([edit.parameters])
            if edit.mask is None:
                image = edit.function.apply(image, parameters)
            else:
                image = apply_masked(edit.function, image, parameters, image.new_tensor([edit.mask]))
        return image if self.edits else image.clone()

    def _apply_rows(self, source: NDArray[Any], target: NDArray[Any]) -> None:
        """Edit an image given as a batch of rows: ``(H, 3, 1, W)`` views of input and output."""
        height, width = source.shape[0], source.shape[3]
        tile_height = max(1, TILE_PIXELS // max(1, width))

        def edit_tile(top: int) -> None:
            tile = np.ascontiguousarray(source[top : top + tile_height])
            rows = np.arange(top, top + len(tile), dtype=tile.dtype)
            for edit in self.edits:
                parameters = np.array([edit.parameters], tile.dtype)
                if edit.filter == "vignette":
                    parameters = _in_row(parameters, rows, height, width)
                if edit.mask is None:
                    tile = edit.function.apply(tile, parameters)
                else:
                    mask = _in_row(np.array([edit.mask], tile.dtype), rows, height, width)
                    tile = apply_masked(edit.function, tile, parameters, mask)
            target[top : top + len(tile)] = tile

        tops = range(0, height, tile_height)
        if len(tops) < 2:  # not worth a thread
            for top in tops:
                edit_tile(top)
            return
        # Threads do, as NumPy lets go of the interpreter's lock.
        with ThreadPoolExecutor(min(cores(), len(tops))) as pool:
            for _ in pool.map(edit_tile, tops):
                pass

    def describe(self) -> str:
        """As a person would say it: ``"exposure +1.3 EV, gamma 1/2.40, ..."``."""
        return ", ".join(edit.describe() for edit in self.edits) or "no change"

    __str__ = describe

    def to_python(self) -> str:
        """NumPy code of the same edit: see :func:`exposure_gym.recipe_export.to_python`."""
        from exposure_gym.recipe_export import to_python

        return to_python(self)

    def to_cube(self, path: str | os.PathLike[str], size: int = 65, title: str = "exposure-gym") -> LutError:
        """Write a 3D LUT and return its error: see :func:`exposure_gym.recipe_export.to_cube`."""
        from exposure_gym.recipe_export import to_cube

        return to_cube(self, path, size, title)

    def to_xmp(self, path: str | os.PathLike[str], program: Program = "camera-raw") -> XmpReport:
        """Write a sidecar and say how it holds the edit: see :func:`exposure_gym.recipe_xmp.to_xmp`."""
        from exposure_gym.recipe_xmp import to_xmp

        return to_xmp(self, path, program)

    def to_json(self) -> str:
        """The recipe as JSON, one line an edit; every number survives exactly."""
        from exposure_gym.recipe_json import dumps

        return dumps(self)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The inverse of :meth:`to_json`, strict.

        :raises ValueError: one line that names the field: not JSON, a repeated, missing or unknown
            key, an unknown version or filter, a value that is no finite number.
        """
        from exposure_gym.recipe_json import loads

        return loads(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as JSON; the file appears whole or not at all."""
        with replacing(Path(path)) as temporary:
            # A file name that was not UTF-8 holds lone surrogates: they become JSON escapes.
            temporary.write_bytes(self.to_json().encode("utf-8", "backslashreplace"))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read a recipe file.

        :raises ValueError: as :meth:`from_json`, with the file's name in front; also for a file
            that is too big.
        :raises OSError: the file is not there or not readable.
        """
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        try:
            if len(data) > MAX_FILE_BYTES:
                raise ValueError(f"too big for a recipe (over {MAX_FILE_BYTES // 1000} kB)")
            return cls.from_json(data.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ValueError(f"{os.fspath(path)}: not JSON: it is no UTF-8 text") from None
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None


def cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_row(parameters: NDArray[Any], rows: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Mask or vignette parameters for single rows of a larger image.

    Both measure place as ``vertical * y`` and ``horizontal * x``, from the centre in units of the
    short edge. In an image one pixel high, y is always -1/2 and the unit is one pixel, so the
    parameters carry the row's true place.

    :param parameters: ``(1, k)``, vertical and horizontal first; :param rows: ``(h,)`` row numbers.
    :return: ``(h, k)``.
    """
    short = min(height, width)
    placed = np.repeat(parameters, len(rows), 0)
    placed[:, 0] *= -2.0 * (rows - height / 2) / short
    placed[:, 1] /= short
    return placed


def _check(image: Any, ndims: tuple[int, ...], channels: int) -> None:
    """Refuse what is not a floating-point image with three channels on that axis."""
    shape = tuple(getattr(image, "shape", ()))
    if len(shape) not in ndims or shape[channels] != 3:
        wanted = "(H, W, 3)" if channels == -1 else "(3, H, W) or (B, 3, H, W)"
        raise ValueError(f"the image must have shape {wanted}, not {shape}")
    if isinstance(image, np.ndarray):
        floating = image.dtype in (np.float32, np.float64)
    else:
        floating = hasattr(image, "is_floating_point") and image.is_floating_point()
    if not floating:
        kind = getattr(image, "dtype", type(image).__name__)
        raise ValueError(f"the image must hold float32 or float64 linear light, not {kind}")


def _numbers(values: Any, names: Sequence[str], what: str) -> tuple[float, ...]:
    """The values as floats, one for each name."""
    values = tuple(values) if isinstance(values, Iterable) else (values,)
    if len(values) != len(names):
        wanted = f"{len(names)} value{'s' * (len(names) > 1)} ({', '.join(names)})"
        raise ValueError(f"{what} takes {wanted}, not {len(values)}")
    for name, value in zip(names, values, strict=True):
        # "not <=" catches NaN too.
        usable = isinstance(value, Real) and not isinstance(value, bool)
        if not usable or not abs(value) <= PARAMETER_BOUND:
            bound = f"within ±{PARAMETER_BOUND:g}"
            raise ValueError(f"{what}: {name} must be a number {bound}, not {short(value)}")
    return tuple(float(value) for value in values)


def short(value: Any) -> str:
    """A value for an error message: on one line and never long."""
    if isinstance(value, int) and abs(value) > 10**30:
        return "a huge integer"  # printing it could take for ever, or be refused
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."

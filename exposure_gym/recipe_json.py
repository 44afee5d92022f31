"""The JSON form of a recipe, described in ``docs/recipe.md``: written for people, read strictly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from exposure_gym.filters import CURVE_STEPS, MASK_NAMES, filters_by_name
from exposure_gym.recipe import PARAMETER_BOUND, Edit, Recipe, short

FORMAT = "exposure-gym recipe"
VERSION = 1

# A curve is a list; every other parameter has its own name.
_CURVES = {"tone": ("slopes",), "color": ("red", "green", "blue")}


def dumps(recipe: Recipe) -> str:
    """A recipe as JSON text: see :meth:`exposure_gym.recipe.Recipe.to_json`."""
    head = {"format": FORMAT, "version": VERSION, "working_space": recipe.working_space}
    if recipe.input_domain != "linear":  # a reader that knows no other one refuses the file instead of misreading it
        head["input_domain"] = recipe.input_domain
    head |= {key: text for key in ("source", "comment") if (text := getattr(recipe, key))}
    lines = [f"  {_line(key)}: {_line(value)}," for key, value in head.items()]
    edits = ",\n".join(f"    {_line(_edit_to_object(edit))}" for edit in recipe)
    lines.append(f'  "edits": [\n{edits}\n  ]' if edits else '  "edits": []')
    return "\n".join(["{", *lines, "}", ""])


def loads(text: str) -> Recipe:
    """A recipe from JSON text: see :meth:`exposure_gym.recipe.Recipe.from_json`."""
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not a recipe: nested too deeply") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f'not a recipe: "format" must be "{FORMAT}"')
    version = data.get("version")
    if type(version) is not int or version != VERSION:
        raise ValueError(f"version must be {VERSION}, the one known here, not {short(version)}")
    required = ("format", "version", "working_space", "edits")
    _check_keys(data, required, "recipe", optional=("input_domain", "source", "comment"))
    for key in ("working_space", "input_domain", "source", "comment"):
        if not isinstance(data.get(key, ""), str):
            raise ValueError(f"{key} must be a text, not {short(data[key])}")
    if not isinstance(data["edits"], list):
        raise ValueError(f"edits must be a list, not {short(data['edits'])}")
    edits = tuple(_edit_from_object(item, f"edits[{i}]") for i, item in enumerate(data["edits"]))
    texts = data.get("source", ""), data.get("comment", "")
    return Recipe(edits, data["working_space"], *texts, data.get("input_domain", "linear"))


def _edit_to_object(edit: Edit) -> dict[str, Any]:
    if edit.filter in _CURVES:
        curves = [list(edit.parameters[i : i + CURVE_STEPS]) for i in range(0, len(edit.parameters), CURVE_STEPS)]
        parameters: dict[str, Any] = dict(zip(_CURVES[edit.filter], curves, strict=True))
    else:
        parameters = dict(zip(edit.function.parameter_names, edit.parameters, strict=True))
    mask = {} if edit.mask is None else {"mask": dict(zip(MASK_NAMES, edit.mask, strict=True))}
    return {"filter": edit.filter, "parameters": parameters, **mask}


def _edit_from_object(data: Any, where: str) -> Edit:
    _check_keys(data, ("filter", "parameters"), where, optional=("mask",))
    name = data["filter"]
    if not isinstance(name, str):
        raise ValueError(f"{where}.filter must be a text, not {short(name)}")
    try:
        filter_ = filters_by_name([name])[0]
    except ValueError as error:
        raise ValueError(f"{where}.filter: {error}") from None
    fields = _CURVES.get(name, filter_.parameter_names)
    given = data["parameters"]
    _check_keys(given, fields, f"{where}.parameters")
    values: list[float] = []
    for field in fields:
        here = f"{where}.parameters.{field}"
        if name in _CURVES:
            if not isinstance(given[field], list) or len(given[field]) != CURVE_STEPS:
                raise ValueError(f"{here} must be a list of {CURVE_STEPS} numbers, not {short(given[field])}")
            values += [_number(value, f"{here}[{i}]") for i, value in enumerate(given[field])]
        else:
            values.append(_number(given[field], here))
    mask = None
    if "mask" in data:
        _check_keys(data["mask"], MASK_NAMES, f"{where}.mask")
        mask = tuple(_number(data["mask"][key], f"{where}.mask.{key}") for key in MASK_NAMES)
    try:
        return Edit(name, tuple(values), mask)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _number(value: Any, where: str) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"{where} must be a number, not {short(value)}")
    if not abs(value) <= PARAMETER_BOUND:
        raise ValueError(f"{where} must lie within ±{PARAMETER_BOUND:g}, not {short(value)}")
    return float(value)


def _check_keys(data: Any, required: Sequence[str], where: str, optional: Sequence[str] = ()) -> None:
    if not isinstance(data, dict):
        raise ValueError(f"{where} must be an object with {', '.join(required)}, not {short(data)}")
    for key in required:
        if key not in data:
            raise ValueError(f"{where}: {key!r} is missing")
    for key in data:
        if key not in required and key not in optional:
            raise ValueError(f"{where}: unknown key {short(key)}; it takes {', '.join((*required, *optional))}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {short(next(key for key in keys if keys.count(key) > 1))} stands there twice")
    return data


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number that a recipe can hold")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)

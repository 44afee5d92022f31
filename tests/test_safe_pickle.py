"""Pickles that mean harm build nothing; plain data comes back."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exposure_gym.data.safe_pickle import UnsafePickle, load_plain


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


@pytest.mark.parametrize(
    "data",
    [
        *(pickle.dumps(Evil(), protocol) for protocol in range(6)),
        *(pickle.dumps({1, 2}, protocol) for protocol in range(6)),
        pickle.dumps(bytearray(b"1"), 5),
        pickle.dumps(frozenset([1]), 4),
        pickle.dumps(1j),
        pickle.dumps(np.float64(1)),
        b"cos\nsystem\n(S'true'\ntR.",
        b"(S'true'\nios\nsystem\n.",
        b"\x80\x02\x82\x01.",  # a registered extension
        b"Pidentity\n.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # memo slot 2**31 - 1
        b"]p99999999999\n.",
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a text of 2**63 - 1 bytes
        b"",
        b".",
        b"no pickle",
        pickle.dumps({"filenames": ["a", "b"]})[:-3],
        b"\x80\x02}]K\x01s.",  # a list for a key
    ],
)
def test_evil_and_damaged_pickles_build_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.pkl").write_bytes(data)
    with pytest.raises(UnsafePickle, match=r"p\.pkl: ") as error:
        load_plain(tmp_path / "p.pkl")
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["p.pkl"]


def test_large_pickles_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "p.pkl").write_bytes(pickle.dumps("x" * 100))
    with pytest.raises(UnsafePickle, match="larger than 100 bytes"):
        load_plain(tmp_path / "p.pkl", max_bytes=100)


scalars = st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text()
plain = st.recursive(
    scalars,
    lambda inside: (
        st.lists(inside)
        | st.tuples(inside, inside, inside, inside)
        | st.tuples(inside)
        | st.dictionaries(scalars, inside)
    ),
    max_leaves=20,
)


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int) -> None:
    path = tmp_path_factory.mktemp("plain") / "p.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_plain(path) == value
    path.write_bytes(pickle.dumps([value, b"bytes"], max(protocol, 3)))
    assert load_plain(path) == [value, b"bytes"]


PLAIN = pickle.dumps({"filenames": ["0001.tif", "0002.tif"], "sizes": (1, 2.5, None)}, 2)


@given(changes=st.lists(st.tuples(st.integers(0, len(PLAIN) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_pickle_is_refused_or_plain(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(PLAIN)
    for place, value in changes:
        data[place] = value
    path = tmp_path_factory.mktemp("damaged") / "p.pkl"
    path.write_bytes(data)
    with contextlib.suppress(UnsafePickle):
        assert type(load_plain(path)) in (dict, list, tuple, str, bytes, int, float, bool, type(None))

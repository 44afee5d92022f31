"""TensorFlow checkpoints: what TensorFlow or a test wrote is read, and nothing that was damaged."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from tensor_bundle import (
    DTYPES,
    block,
    data_file,
    entry,
    header,
    index_file,
    masked_crc32c,
    message,
    published_checkpoint,
    published_weights,
    slow_crc32c,
    table,
    varint,
    write_checkpoint,
    write_table,
)

from exposure_gym.model_file import ModelError
from exposure_gym.tf_checkpoint import MAX_ENTRIES, MAX_INDEX, TensorFlowCheckpoint, crc32c

Arrays = dict[str, NDArray[Any]]


def read_all(prefix: Path) -> Arrays:
    checkpoint = TensorFlowCheckpoint(prefix)
    return {name: checkpoint.read(name) for name in checkpoint.variables}


def same(first: Arrays, second: Arrays) -> bool:
    """Equal names, shapes, types and bits."""
    return first.keys() == second.keys() and all(
        (a.shape, a.dtype, a.tobytes()) == (second[name].shape, second[name].dtype, second[name].tobytes())
        for name, a in first.items()
    )


def refusal(prefix: Path) -> str:
    """Why it is not read: one line that names the file."""
    with pytest.raises(ModelError) as caught:
        read_all(prefix)
    said = str(caught.value)
    assert str(prefix) in said
    assert "\n" not in said
    return said


# -- checksums ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_checksums_are_those_of_the_standard(data: bytes, crc: int) -> None:
    """RFC 3720, appendix B.4, and the value every catalogue of checksums gives for the nine digits."""
    assert crc32c(data) == slow_crc32c(data) == crc


def test_checksums_of_every_length(rng: np.random.Generator) -> None:
    data = rng.integers(0, 256, 5000, np.uint8)
    for length in [*range(150), 1021, 1022, 4096, 5000]:
        assert crc32c(data[:length]) == slow_crc32c(data[:length].tobytes()), length


# -- reading -----------------------------------------------------------------------------------------------------------


def test_the_published_checkpoint(tmp_path: Path) -> None:
    """Its index is TensorFlow's own: 240 variables, of which 80 are weights."""
    checkpoint = TensorFlowCheckpoint(published_checkpoint(tmp_path))
    weights = published_weights()
    assert len(checkpoint.variables) == 240
    assert same({name: checkpoint.read(name) for name in weights}, weights)
    assert checkpoint.variables["Variable"].dtype == DTYPES["int32"]
    assert checkpoint.variables["generator/Conv/weights"].checksum == masked_crc32c(
        weights["generator/Conv/weights"].tobytes()
    )
    with pytest.raises(KeyError):
        checkpoint.read("generator")
    with pytest.raises(ModelError, match=r"'OptimizeLoss/beta1_power' .*checksum"):
        checkpoint.read("OptimizeLoss/beta1_power")  # its data are not kept


ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=20),
    st.sampled_from(sorted(DTYPES)).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    min_size=1,
    max_size=40,
)


@given(ARRAYS, st.integers(1, 3), st.sampled_from([1, 60, 4096]), st.booleans())
def test_what_was_written_is_read(arrays: Arrays, shards: int, block_size: int, compressed: bool) -> None:
    with TemporaryDirectory() as folder:
        prefix = Path(folder) / "model"
        write_checkpoint(prefix, arrays, shards=shards, block_size=block_size, compressed=compressed)
        assert same(read_all(prefix), arrays)


def test_any_of_the_files_names_the_checkpoint(tmp_path: Path) -> None:
    arrays = {"x": np.ones(3)}
    prefix = write_checkpoint(tmp_path / "model.v2.ckpt-7", arrays, shards=2)
    for path in (prefix, index_file(prefix), data_file(prefix, 1, 2), tmp_path / "model.v2.ckpt-7.meta"):
        assert same(read_all(path), arrays)


def test_what_is_read_can_be_written_to(tmp_path: Path) -> None:
    prefix = write_checkpoint(tmp_path / "model", {"x": np.ones(3)})
    values = TensorFlowCheckpoint(prefix).read("x")
    values += 1.0
    assert values.tolist() == [2.0, 2.0, 2.0]


# -- refusing ----------------------------------------------------------------------------------------------------------


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert "no such file; name a checkpoint by" in refusal(tmp_path / "none")
    prefix = write_checkpoint(tmp_path / "model.ckpt-9", {"x": np.ones(3), "y": np.ones(3)}, shards=2)
    assert f"such as {prefix}" in refusal(tmp_path)
    data_file(prefix, 1, 2).unlink()
    said = refusal(prefix)
    assert "model.ckpt-9.data-00001-of-00002: no such file" in said
    (tmp_path / "old").write_bytes(b"\0" * 100)
    assert "older version 1" in refusal(tmp_path / "old")
    with pytest.raises(ModelError, match="name a checkpoint"):
        TensorFlowCheckpoint(Path("/"))
    os.mkfifo(tmp_path / "pipe.index")
    assert "not a file" in refusal(tmp_path / "pipe")
    data_file(prefix, 1, 2).mkdir()
    assert "not a file" in refusal(prefix)


NUMBERS = np.arange(6, dtype=np.float32)
CHECKSUM = masked_crc32c(NUMBERS.tobytes())


@pytest.mark.parametrize(
    ("variable", "reason"),
    [
        (entry([2, 3], 24, CHECKSUM ^ 1), "does not match its checksum"),
        (entry([2, 2], 24, CHECKSUM), "24 bytes are no (2, 2) numbers"),
        (entry([], 24, CHECKSUM), "24 bytes are no () numbers"),
        (entry([2, 3], 24, CHECKSUM, offset=1), "ends before"),
        (entry([2, 3], 24, CHECKSUM, offset=2**64 - 1), "ends before"),
        (entry([2**40], 2**42, CHECKSUM), "ends before"),
        (entry([2**64 - 1, 2**64 - 1], 24, CHECKSUM), "bytes are no"),
        (entry([0, 2**62, 2**62], 0, masked_crc32c(b"")), "cannot read 'x'"),
        (entry([1] * 9, 4, CHECKSUM), "9 dimensions"),
        (entry([2, 3], 24, CHECKSUM, shard=1), "data file 1 of 1"),
        (entry([2, 3], 24, CHECKSUM, dtype=7), "type 7"),
        (entry([2, 3], 24, CHECKSUM, dtype=0), "type 0"),
        (entry([2, 3], 24, CHECKSUM, slices=2), "in slices"),
        (message((2, 5)), "shape is no message"),
        (message((1, b"float")), "field 1 is no number"),
        (b"\x0b", "unknown kind 3"),
        (b"\x35\1\2", "ends too early"),
        (b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "ends too early"),
        (b"\xff" * 11, "does not end"),
    ],
)
def test_impossible_variables_are_refused(tmp_path: Path, variable: bytes, reason: str) -> None:
    prefix = tmp_path / "model"
    data_file(prefix).write_bytes(NUMBERS.tobytes())
    write_table(index_file(prefix), [(b"", header()), (b"x", entry([2, 3], 24, CHECKSUM))])
    assert same(read_all(prefix), {"x": NUMBERS.reshape(2, 3)})
    write_table(index_file(prefix), [(b"", header()), (b"x", variable)])
    tracemalloc.start()
    try:
        assert reason in refusal(prefix)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


GOOD = block([(b"", header()), (b"x", entry([2, 3], 24, CHECKSUM))])


def forged_table(*handles: bytes) -> bytes:
    """A table of one good block, whose index says that there are blocks here."""
    good, forged = table([(b"x", GOOD)]), block([(b"x", handle) for handle in handles]) + b"\0"
    start = len(good) - 48
    footer = varint(len(GOOD) + 5) + varint(8) + varint(start) + varint(len(forged) - 1)
    stored = forged + masked_crc32c(forged).to_bytes(4, "little")
    return good[:start] + stored + footer.ljust(40, b"\0") + good[-8:]


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (b"", "its end"),
        (table([(b"x", GOOD)])[-8:], "its end"),
        (table([(b"x", GOOD)])[1:], "checksum"),
        (table([(b"x", GOOD)], compression=2), "unknown compression 2"),
        (table([(b"x", b"")]), "too short"),
        (table([(b"x", b"\xff\xff\xff\xff")]), "too short"),
        (table([(b"x", b"\0" * 3 + block([]))]), "number of data files"),
        (table([(b"x", b"\1\1\0x" + block([]))]), "cannot be put together"),
        (table([(b"x", b"\0\xff\xff\7\0" + block([]))]), "cannot be put together"),
        (table([(b"x", b"\0\5\0abc" + block([]))]), "ends too early"),
        (table([(b"x", b"\0\1\5xabc" + block([]))]), "ends too early"),
        (table([(b"x", b"\0\0\0" * (MAX_ENTRIES + 1) + block([]))]), "entries in a block"),
        (table([(b"x", block([(b"x", b"")]))]), "number of data files"),
        (table([(b"x", block([(b"", header(endianness=1))]))]), "big-endian"),
        (table([(b"x", block([(b"", header()), (b"\xff", b"")]))]), "no text"),
        (
            table([(b"x", block([(b"%d" % (i + n), b"") for i in range(5000)])) for n in (10000, 15000, 20000)]),
            "variables",
        ),
        (forged_table(varint(0) + varint(len(GOOD)), varint(0) + varint(len(GOOD))), "overlap"),
        (forged_table(varint(2**60) + varint(len(GOOD))), "ends too early"),
        (forged_table(varint(0) + varint(2**60)), "ends too early"),
        (table([(b"x", varint(2**30) + b"\0")], compression=1), "a block of 1073741824 bytes"),
        (table([(b"x", varint(1000) + b"\0")], compression=1), "cannot be decompressed"),
        (b"-" * MAX_INDEX + table([(b"x", GOOD)]), "more than"),
    ],
)
def test_impossible_tables_are_refused(tmp_path: Path, index: bytes, reason: str) -> None:
    data_file(tmp_path / "model").write_bytes(NUMBERS.tobytes())
    index_file(tmp_path / "model").write_bytes(index)
    tracemalloc.start()
    try:
        assert reason in refusal(tmp_path / "model")
        assert tracemalloc.get_traced_memory()[1] < 2e7
    finally:
        tracemalloc.stop()


# -- damage ------------------------------------------------------------------------------------------------------------

SMALL: Arrays = {
    "generator/Conv/weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "generator/Conv/biases": np.ones(4, np.float32),
    "generator/Conv_1/biases": np.zeros(0, np.float32),
    "global_step": np.array(20_000),
}


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes with bits flipped, or cut short, or with a piece from elsewhere in them."""
    position = st.integers(0, len(data) - 1)
    kind = draw(st.sampled_from(["flip", "cut", "overwrite"]))
    if kind == "cut":
        return data[: draw(position)]
    result = bytearray(data)
    if kind == "flip":
        for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=4)):
            result[bit // 8] ^= 1 << bit % 8
    else:
        start, source, size = draw(position), draw(position), draw(st.integers(1, 40))
        result[start : start + size] = data[source : source + size]
    return bytes(result)


def small_checkpoint(compressed: bool = False) -> tuple[bytes, bytes]:
    with TemporaryDirectory() as folder:
        prefix = write_checkpoint(Path(folder) / "model", SMALL, block_size=60, compressed=compressed)
        return index_file(prefix).read_bytes(), data_file(prefix).read_bytes()


INDEX, DATA = small_checkpoint()
SNAPPY_INDEX, _ = small_checkpoint(compressed=True)


def read_or_refuse(index: bytes, data: bytes) -> Arrays | None:
    with TemporaryDirectory() as folder:
        prefix = Path(folder) / "model"
        index_file(prefix).write_bytes(index)
        data_file(prefix).write_bytes(data)
        try:
            return read_all(prefix)
        except ModelError:
            refusal(prefix)
            return None


@settings(max_examples=150)
@given(st.one_of(damaged(INDEX), damaged(SNAPPY_INDEX)))
def test_a_damaged_index_is_refused_or_does_no_harm(index: bytes) -> None:
    arrays = read_or_refuse(index, DATA)
    assert arrays is None or same(arrays, SMALL)


@settings(max_examples=100)
@given(damaged(DATA))
def test_damaged_data_are_refused_or_do_no_harm(data: bytes) -> None:
    arrays = read_or_refuse(INDEX, data)
    assert arrays is None or same(arrays, SMALL)
    assert arrays is None or data[: len(DATA)] == DATA


CONTENTS = block([(b"", header()), *((name.encode(), entry([2, 3], 24, CHECKSUM)) for name in sorted(SMALL))])


@settings(max_examples=150)
@given(damaged(CONTENTS))
def test_a_forged_index_does_no_harm(contents: bytes) -> None:
    """Its checksums are right, so that what they guard has to be borne."""
    arrays = read_or_refuse(table([(b"x", contents)]), NUMBERS.tobytes())
    assert arrays is None or all(array.nbytes in (0, 24) for array in arrays.values())


@settings(max_examples=150)
@given(damaged(bytes(imagecodecs.snappy_encode(CONTENTS))))
def test_forged_compression_does_no_harm(stored: bytes) -> None:
    arrays = read_or_refuse(table([(b"x", stored)], compression=1), NUMBERS.tobytes())
    assert arrays is None or all(array.nbytes in (0, 24) for array in arrays.values())

"""Reading TensorFlow checkpoints without TensorFlow.

A checkpoint PREFIX ("tensor bundle", TensorFlow's ``Saver`` version 2) is a table ``PREFIX.index`` that tells for each
variable what and where it is, and files ``PREFIX.data-00000-of-00001``, ... with the bare numbers. Sources of the
format: LevelDB's ``doc/table_format.md`` (the table, whose values are Protocol Buffers messages), TensorFlow's
``tensor_bundle.proto`` and ``tensor_shape.proto``.

Nothing in the files is believed: every block of the table and every variable read must match its checksum, and no
size is allocated before it was compared with that of its file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from exposure_gym.model_file import ModelError

MAX_INDEX = 1 << 20
"""Bytes of the largest table that is read; a network of a hundred variables has one of 10 kB."""
MAX_ENTRIES = 10_000
"""Of a table, its blocks or its variables."""
MAX_NAME = 1000
"""Bytes of a variable's name."""
MAX_DIMENSIONS = 8

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_TRAILER = 5
_PLAIN, _SNAPPY = 0, 1
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""NumPy's names of TensorFlow's types: those of numbers that can be read here."""


class Variable(NamedTuple):
    """What the table tells of a variable."""

    shape: tuple[int, ...]
    dtype: int
    """TensorFlow's number of the type."""
    shard: int
    """Which of the data files it is in,"""
    offset: int
    """where,"""
    size: int
    """and how long it is, in bytes."""
    checksum: int
    partitioned: bool
    """Stored in slices, under other names."""


class TensorFlowCheckpoint:
    """The variables of a checkpoint.

    :param prefix: path of the checkpoint without the endings of its files, e.g. ``model.ckpt-20000``; one of the
        files will do too.
    :raises ModelError: when the table is missing, damaged or something else, in one line.
    """

    def __init__(self, prefix: Path) -> None:
        if not prefix.name:
            raise ModelError(f"{prefix}: {_remedy(prefix)}")
        self.prefix = prefix.with_name(re.sub(r"\.(index|meta|data-\d{5}-of-\d{5})$", "", prefix.name))
        self.index = self.prefix.with_name(self.prefix.name + ".index")
        try:
            self.variables, self.shards = _variables(_read_index(self.index))
        except FileNotFoundError:
            raise ModelError(f"{self.index}: no such file; {_remedy(self.prefix)}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.index}: not a readable TensorFlow checkpoint ({error})") from None

    def read(self, name: str) -> NDArray[Any]:
        """The numbers of a variable.

        :raises KeyError: there is no such variable.
        :raises ModelError: its data are missing or damaged, or are no numbers, in one line.
        """
        variable = self.variables[name]
        path = self.prefix.with_name(f"{self.prefix.name}.data-{variable.shard:05d}-of-{self.shards:05d}")
        try:
            return _read_variable(path, variable, self.shards)
        except FileNotFoundError:
            raise ModelError(f"{path}: no such file; it belongs to {self.index.name}") from None
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: cannot read {name!r} ({error})") from None


def _remedy(prefix: Path) -> str:
    if prefix.is_dir():
        found = min((path.name[: -len(".index")] for path in prefix.glob("*.index")), default="model.ckpt-20000")
        return f"name a checkpoint in that folder, such as {prefix / found}"
    if prefix.exists():
        return f"a single file such as {prefix.name} is a checkpoint of the older version 1, which is not read"
    return "name a checkpoint by the path of its .index file without that ending"


def _read_index(path: Path) -> bytes:
    _check_regular(path)
    with path.open("rb") as file:
        data = file.read(MAX_INDEX + 1)
    if len(data) > MAX_INDEX:
        raise ValueError(f"more than {MAX_INDEX} bytes, which no checkpoint of this kind needs")
    return data


def _check_regular(path: Path) -> None:
    """A pipe could keep us waiting for ever."""
    if path.exists() and not path.is_file():
        raise ValueError("not a file")


def _read_variable(path: Path, variable: Variable, shards: int) -> NDArray[Any]:
    if variable.partitioned:
        raise ValueError("it is stored in slices, which are not read")
    if variable.dtype not in _DTYPES:
        raise ValueError(f"it is of TensorFlow's type {variable.dtype}, which is not read")
    dtype = np.dtype(_DTYPES[variable.dtype])
    if variable.shard >= shards:
        raise ValueError(f"it lies in data file {variable.shard} of {shards}")
    if math.prod(variable.shape) * dtype.itemsize != variable.size:
        raise ValueError(f"{variable.size} bytes are no {variable.shape} numbers of {dtype.itemsize} bytes")
    _check_regular(path)
    with path.open("rb") as file:
        if variable.offset + variable.size > path.stat().st_size:
            raise ValueError("the file ends before it does")
        file.seek(variable.offset)
        data = np.frombuffer(bytearray(file.read(variable.size)), np.uint8)
    if len(data) != variable.size or _masked(crc32c(data)) != variable.checksum:
        raise ValueError("it does not match its checksum")
    return data.view(dtype).reshape(variable.shape)


# -- the table ---------------------------------------------------------------------------------------------------------


def _variables(index: bytes) -> tuple[dict[str, Variable], int]:
    """Variables by name, and the number of data files."""
    if index[-len(_MAGIC) :] != _MAGIC or len(index) < _FOOTER:
        raise ValueError("its end is not that of a checkpoint's table")
    footer = index[-_FOOTER:]
    metadata, at = _handle(footer, 0)
    _block(index, *metadata)  # holds nothing of use, but shall be whole
    blocks, _ = _handle(footer, at)
    variables: dict[str, Variable] = {}
    shards, end = 0, 0
    for _, value in _entries(_block(index, *blocks)):
        block, _ = _handle(value, 0)
        if block[0] < end:  # else a small table could name one block again and again
            raise ValueError("its blocks overlap")
        end = sum(block)
        for key, message in _entries(_block(index, *block)):
            if not key:
                shards = _shards(message)
            elif len(variables) == MAX_ENTRIES:
                raise ValueError(f"more than {MAX_ENTRIES} variables")
            else:
                variables[_name(key)] = _variable(message)
    if not shards:
        raise ValueError("it does not begin with the number of data files")
    return variables, shards


def _name(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise ValueError("a variable's name is no text") from None


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where this information ends."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(index: bytes, offset: int, size: int) -> bytes:
    """The contents of a block: behind them lie a byte for their compression and their checksum."""
    stored = _part(index, offset, size + _TRAILER)
    if _masked(crc32c(stored[:-4])) != int.from_bytes(stored[-4:], "little"):
        raise ValueError(f"the block at byte {offset} does not match its checksum")
    contents, compression = stored[:size], stored[size]
    if compression == _PLAIN:
        return contents
    if compression != _SNAPPY:
        raise ValueError(f"unknown compression {compression}")
    length, _ = _varint(contents, 0)
    if length > MAX_INDEX:
        raise ValueError(f"a block of {length} bytes, which no checkpoint of this kind needs")
    try:
        return bytes(imagecodecs.snappy_decode(contents))
    except (RuntimeError, ValueError):
        raise ValueError(f"the block at byte {offset} cannot be decompressed") from None


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block. A key is stored as what it shares with the one before, and the rest."""
    restarts = int.from_bytes(block[-4:], "little")  # offsets behind the entries, for those who search
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError("a block is too short")
    entries, key, at = block[:end], b"", 0
    for _ in range(MAX_ENTRIES):
        if at == end:
            return
        shared, at = _varint(entries, at)
        rest, at = _varint(entries, at)
        size, at = _varint(entries, at)
        if shared > len(key) or shared + rest > MAX_NAME:
            raise ValueError("a name cannot be put together")
        key, at = key[:shared] + _part(entries, at, rest), at + rest
        yield key, _part(entries, at, size)
        at += size
    raise ValueError(f"more than {MAX_ENTRIES} entries in a block")


# -- messages ----------------------------------------------------------------------------------------------------------


def _shards(message: bytes) -> int:
    """Number of data files, of a ``BundleHeaderProto``."""
    fields = dict(_fields(message))
    if _integer(fields, 2):
        raise ValueError("its numbers are big-endian, which is not read")
    return _integer(fields, 1)


def _variable(message: bytes) -> Variable:
    """A ``BundleEntryProto``."""
    fields = dict(_fields(message))
    dtype, shard, offset, size, checksum = (_integer(fields, number) for number in (1, 3, 4, 5, 6))
    shape = fields.get(2, b"")
    if not isinstance(shape, bytes):
        raise ValueError("a variable's shape is no message")
    return Variable(_shape(shape), dtype, shard, offset, size, checksum, 7 in fields)


def _shape(message: bytes) -> tuple[int, ...]:
    """A ``TensorShapeProto``."""
    dimensions = [dict(_fields(value)) for _, value in _fields(message) if isinstance(value, bytes)]
    if len(dimensions) > MAX_DIMENSIONS:
        raise ValueError(f"a variable of {len(dimensions)} dimensions")
    return tuple(_integer(fields, 1) for fields in dimensions)


def _integer(fields: dict[int, int | bytes], number: int) -> int:
    """One of a message's fields that holds a number; where it is left out, that is 0."""
    value = fields.get(number, 0)
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a Protocol Buffers message."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
        elif kind == 2:
            size, at = _varint(message, at)
            yield number, _part(message, at, size)
            at += size
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield number, int.from_bytes(_part(message, at, size), "little")
            at += size
        else:
            raise ValueError(f"a field of unknown kind {kind}")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number stored in seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for i, octet in enumerate(data[at : at + 10]):
        value |= (octet & 0x7F) << 7 * i
        if octet < 0x80:
            return value, at + i + 1
    raise ValueError("a number does not end")


def _part(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("it ends too early")
    return data[at : at + size]


# -- checksums ---------------------------------------------------------------------------------------------------------


def _crc_table() -> NDArray[np.uint32]:
    """What each byte does to the register: eight divisions by the Castagnoli polynomial, lowest bit first."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> 1) ^ (table & 1) * np.uint32(0x82F63B78)
    return table


_CRC_TABLE = _crc_table()
_CRC_START = np.frombuffer(bytes.fromhex("54641f64"), np.uint8)
"""Bytes that take the register from 0 to all ones, the value that it has to start with."""


def crc32c(data: bytes | NDArray[np.uint8]) -> int:
    """CRC-32C of some bytes (RFC 3720, appendix B.4).

    Byte by byte Python would be slow. But a register of 0 stays 0 while zeros go in, so zeros can be put in front, and
    the division is linear, so pieces of one length can be divided side by side and put together two by two: the first
    of two is carried on over as many zeros as the second is long.
    """
    octets = np.frombuffer(data, np.uint8)
    total = len(_CRC_START) + len(octets)
    length = 1 << (total.bit_length() // 2)
    pieces = -(-total // length)
    padded = np.zeros(pieces * length, np.uint8)
    start = len(padded) - len(octets)
    padded[start - len(_CRC_START) : start] = _CRC_START
    padded[start:] = octets

    register = np.zeros(pieces, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(pieces, length).T):
        register = _CRC_TABLE[(register ^ column) & 0xFF] ^ (register >> 8)
    units = np.uint32(1) << np.arange(32, dtype=np.uint32)
    zeros = _CRC_TABLE[units & 0xFF] ^ (units >> 8)  # what one zero byte does to each bit of the register
    for _ in range(length.bit_length() - 1):
        zeros = _carry(zeros, zeros)  # two, four, ... zero bytes
    while len(register) > 1:
        if len(register) % 2:
            register = np.concatenate([np.zeros(1, np.uint32), register])
        register = _carry(register[::2], zeros) ^ register[1::2]
        zeros = _carry(zeros, zeros)
    return int(register[0]) ^ 0xFFFFFFFF


def _carry(registers: NDArray[np.uint32], zeros: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Registers after some zero bytes, given what those do to each of the 32 bits."""
    bits = (registers[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    carried: NDArray[np.uint32] = np.bitwise_xor.reduce(bits * zeros, axis=1)
    return carried


def _masked(crc: int) -> int:
    """As LevelDB stores a checksum, so that one of data with checksums in it is not degenerate (``crc32c::Mask``)."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

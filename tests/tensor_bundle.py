"""What the tests of TensorFlow checkpoints share: a writer of them, and the small published one put together again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
from golden import golden
from numpy.typing import NDArray

from exposure_gym.tf_checkpoint import TensorFlowCheckpoint

Entries = Sequence[tuple[bytes, bytes]]
DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}


def _divided(octet: int) -> int:
    for _ in range(8):
        octet = (octet >> 1) ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC_TABLE = [_divided(octet) for octet in range(256)]


def slow_crc32c(data: bytes) -> int:
    """Byte by byte, as the definition has it."""
    register = 0xFFFFFFFF
    for octet in data:
        register = _CRC_TABLE[(register ^ octet) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def masked_crc32c(data: bytes) -> int:
    crc = slow_crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    octets = []
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A Protocol Buffers message; numbers that are 0 are left out, as they are there."""
    data = b""
    for number, value in fields:
        if isinstance(value, bytes):
            data += varint(number << 3 | 2) + varint(len(value)) + value
        elif value:
            data += varint(number << 3) + varint(value)
    return data


def header(shards: int = 1, endianness: int = 0) -> bytes:
    return message((1, shards), (2, endianness), (3, message((1, 1))))


def entry(
    shape: Sequence[int], size: int, checksum: int, *, dtype: int = 1, shard: int = 0, offset: int = 0, slices: int = 0
) -> bytes:
    dimensions = message(*((2, message((1, length))) for length in shape))
    place = message((1, dtype), (2, dimensions), (3, shard), (4, offset), (5, size))
    return place + b"\x35" + checksum.to_bytes(4, "little") + message(*[(7, b"")] * slices)


def block(entries: Entries, interval: int = 16) -> bytes:
    """Contents of a block; every ``interval``-th key is stored whole."""
    data, restarts, last = b"", [0], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % interval:
            while shared < min(len(last), len(key)) and last[shared] == key[shared]:
                shared += 1
        elif i:
            restarts.append(len(data))
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    return data + b"".join(number.to_bytes(4, "little") for number in [*restarts, len(restarts)])


def table(blocks: Entries, compression: int = 0) -> bytes:
    """A table of blocks, given as their last keys and their contents, which are compressed in this way."""
    data = b""

    def append(contents: bytes, compression: int = 0) -> bytes:
        nonlocal data
        stored = contents + bytes([compression])
        handle = varint(len(data)) + varint(len(stored) - 1)
        data += stored + masked_crc32c(stored).to_bytes(4, "little")
        return handle

    handles = [(key, append(contents, compression)) for key, contents in blocks]
    footer = append(block([])) + append(block(handles, interval=1))
    return data + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def write_table(path: Path, entries: Entries, block_size: int = 4096, compressed: bool = False) -> None:
    """Write entries in the order of their keys; a block ends with the entry that takes it past ``block_size`` bytes."""
    blocks: list[list[tuple[bytes, bytes]]] = [[]]
    size = 0
    for key, value in sorted(entries):
        if size > block_size:
            blocks.append([])
            size = 0
        blocks[-1].append((key, value))
        size += len(key) + len(value)
    contents = [bytes(imagecodecs.snappy_encode(block(part))) if compressed else block(part) for part in blocks]
    keys = [part[-1][0] for part in blocks]
    path.write_bytes(table(list(zip(keys, contents, strict=True)), compression=int(compressed)))


def write_checkpoint(
    prefix: Path, arrays: dict[str, NDArray[Any]], *, shards: int = 1, block_size: int = 4096, compressed: bool = False
) -> Path:
    """Write arrays by name, spread over the data files in turn; returns the prefix."""
    entries, files = [(b"", header(shards))], [b""] * shards
    for i, (name, array) in enumerate(sorted(arrays.items())):
        data, shard = array.tobytes(), i % shards
        offset = len(files[shard])
        checksum, dtype = masked_crc32c(data), DTYPES[array.dtype.name]
        description = entry(array.shape, len(data), checksum, dtype=dtype, shard=shard, offset=offset)
        entries.append((name.encode(), description))
        files[shard] += data
    for shard, data in enumerate(files):
        data_file(prefix, shard, shards).write_bytes(data)
    write_table(index_file(prefix), entries, block_size, compressed)
    return prefix


def index_file(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def data_file(prefix: Path, shard: int = 0, shards: int = 1) -> Path:
    return prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")


def published_weights() -> dict[str, NDArray[Any]]:
    """The weights of the small published networks, by their names in a checkpoint."""
    arrays = golden("forward_small")
    return {name[len("weights/") :]: array for name, array in arrays.items() if name.startswith("weights/")}


def published_checkpoint(folder: Path) -> Path:
    """The checkpoint that TensorFlow wrote of them: its own index, and what that says of the data.

    What optimisers and counters held is not kept and reads 0 here: their checksums do not match.
    """
    prefix = folder / "model.ckpt-20000"
    index_file(prefix).write_bytes(index_file(Path(__file__).parent / "data" / prefix.name).read_bytes())
    variables = TensorFlowCheckpoint(prefix).variables
    data = bytearray(max(variable.offset + variable.size for variable in variables.values()))
    for name, array in published_weights().items():
        start, size = variables[name].offset, variables[name].size
        data[start : start + size] = array.tobytes()
    data_file(prefix).write_bytes(data)
    return prefix

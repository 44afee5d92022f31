"""Read a pickle that may come from anyone: nothing but plain containers, text and numbers is built."""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import NoReturn

# All that is allowed; what is missing can name a class, call something, or build a set or a bytearray.
_WORDS = """
    PROTO FRAME MARK POP POP_MARK STOP
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
"""
_PLAIN = frozenset(_WORDS.split())
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


class UnsafePickle(ValueError):
    """A pickle is damaged, or holds more than plain data; one line with the file's name."""


def load_plain(path: Path, *, max_bytes: int = 16 << 20) -> object:
    """Read a pickle that holds only ``dict``, ``list``, ``tuple``, ``str``, ``bytes``, ``int``, ``float``, ``bool``
    and ``None``.

    Its instructions are looked through before any is carried out. Text that Python 2 wrote becomes ``str``, a
    character a byte.

    :param max_bytes: larger files are refused unread.
    :raises UnsafePickle: the file is larger, is damaged, or would build anything else.
    :raises OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnsafePickle(f"{path}: is larger than {max_bytes} bytes; it is not the published file, download it again")
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name not in _PLAIN:
                raise UnsafePickle(f"{path}: holds more than plain data ({opcode.name}); do not trust its source")
            # The number of a memo slot is the size of a table: a slot for each byte is more than enough.
            if opcode.name in _PUTS and int(argument or 0) > len(data):
                raise UnsafePickle(f"{path}: asks for memory without end; do not trust its source")
        return _Plain(io.BytesIO(data), encoding="latin-1").load()
    except UnsafePickle:
        raise
    except Exception:  # a damaged pickle fails in as many ways as there are instructions
        raise UnsafePickle(f"{path}: is no pickle or is damaged; download it again") from None


class _Plain(pickle.Unpickler):
    """A second lock: an unpickler that finds no class and no function."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, identity: object) -> NoReturn:
        raise pickle.UnpicklingError(str(identity))

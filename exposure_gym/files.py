"""Writing files so that a crash, a full disk or an interruption never leaves half of one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` to write to; on success it is flushed to disk and takes its place.

    On any error the temporary file is removed and what was at ``path`` before is untouched.
    """
    with replacing_all([path]) as (temporary,):
        yield temporary


@contextmanager
def replacing_all(paths: Iterable[Path]) -> Iterator[list[Path]]:
    """As :func:`replacing`, for files that belong together: none takes its place before all are on the disk."""
    waiting: list[tuple[Path, Path]] = []
    try:
        for path in paths:
            if path.is_dir() and not path.is_symlink():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            with suppress(FileNotFoundError):
                path.lstat()  # a name that is too long would be found out only when another file has taken its place
            temporary = path.with_name(f".{path.stem[:40]}-{secrets.token_hex(4)}{path.suffix}")
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # with a new file's permissions
            waiting.append((temporary, path))
        yield [temporary for temporary, _ in waiting]
        for temporary, _ in waiting:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        for temporary, path in waiting:
            os.replace(temporary, path)
    finally:
        for temporary, _ in waiting:
            temporary.unlink(missing_ok=True)

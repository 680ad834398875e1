"""Files of folders that may come from a stranger. (stub until merged)"""

import os
import stat
from pathlib import Path


def read_regular(path: Path, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "it is no regular file", str(path))
        if status.st_size > limit:
            raise OSError(0, f"it is larger than {limit} bytes", str(path))
        return file.read()

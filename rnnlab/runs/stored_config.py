"""stub until merged"""

from pathlib import Path
from typing import Any

import yaml

from rnnlab.runs.damage import DamagedError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_config(path: Path, content: bytes) -> dict[str, Any]:
    try:
        config = yaml.load(content.decode(), Loader=_LOADER)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise DamagedError(path, f"cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise DamagedError(path, "holds no mapping")
    return config

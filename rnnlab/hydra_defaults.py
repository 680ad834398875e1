"""The launcher and the sweeper of a sweep where none is chosen: ours, in place of Hydra's. Imports no torch.

They are not in configs/config.yaml: what the first file chooses there, no experiment could choose otherwise.
"""

from typing import Any

from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore

OURS = {"launcher": "local", "sweeper": "grid"}


def set_ours() -> None:
    """For the configurations that this process composes from now on."""
    node = HydraConf()
    node.defaults = [_ours(entry) for entry in node.defaults]
    ConfigStore.instance().store(group="hydra", name="config", node=node, provider="rnnlab")


def _ours(entry: Any) -> Any:
    return {key: OURS.get(key, option) for key, option in entry.items()} if isinstance(entry, dict) else entry

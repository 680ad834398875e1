"""From what Hydra composes to a checked configuration. Imports no torch."""

from collections.abc import Collection

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rnnlab.config import Config
from rnnlab.config_files import given_to_hydra, refuse_several_options, set_by
from rnnlab.contract import ConfigError
from rnnlab.explain import explain
from rnnlab.options import CommandLine
from rnnlab.schema import validate


def checked(config: DictConfig, packages: Collection[str]) -> Config:
    """A composed configuration as a checked one.

    Args:
        packages: that the user allows components to come from.
    Raises:
        ConfigError: see `rnnlab.schema.validate`.
    """
    refuse_several_options(config)
    try:
        raw = OmegaConf.to_container(config, resolve=True)
    except (OmegaConfBaseException, RecursionError, ValueError) as error:
        raise ConfigError(explain(error, CommandLine({}, given_to_hydra("task")))) from None
    assert isinstance(raw, dict)
    try:
        return validate({str(key): value for key, value in raw.items()}, packages)
    except ConfigError as error:
        raise ConfigError(f"{error}{set_by(str(error))}") from None

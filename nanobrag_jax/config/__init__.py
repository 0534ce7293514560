"""A run as a readable file: `save_config`, `load_config` (docs/config.md)."""

from .load import Config as Config
from .load import load_config as load_config
from .save import save_config as save_config

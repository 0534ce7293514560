"""A run as a readable file: `save_config`, `load_config` (docs/config.md)."""

from .file import Config as Config
from .file import load_config as load_config
from .file import save_config as save_config

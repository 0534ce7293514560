"""The flags of the command line: one table, and the parser, the help and the documentation made from it."""

from .flag import Flag as Flag
from .parser import parse as parse
from .settings import Settings as Settings
from .table import DEFAULTS as DEFAULTS
from .table import FIELDS as FIELDS
from .table import FLAGS as FLAGS
from .table import GROUPS as GROUPS
from .table import NOISE_FLAGS as NOISE_FLAGS
from .table import find as find
from .table import group_of as group_of
from .texts import help_text as help_text
from .texts import markdown_table as markdown_table

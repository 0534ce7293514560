"""The run-time type checker that conftest.py hangs on every function of the package."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""beartype, with a whole number accepted where a float is annotated, as type checkers do."""

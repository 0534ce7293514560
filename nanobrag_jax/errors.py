"""What a user is told when an input cannot be used."""


class InputError(ValueError):
    """An input that cannot be used: one sentence that names the thing, its value and what is allowed."""


class ExperimentWarning(UserWarning):
    """A number of an experiment that has no effect, or too coarse a one."""


class UsageError(InputError):
    """A command line that asks for no simulation: nothing to compute with was given."""

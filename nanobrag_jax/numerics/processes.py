"""Processes: jax runs threads, which a fork does not take along."""

import os

from ..errors import InputError

_first: list[int] = []
"""The process that called first."""


def refuse_after_fork() -> None:
    """**Raises** `InputError` in a process forked from one that has computed already, where jax waits for ever."""
    if not _first:
        _first.append(os.getpid())
    elif _first[0] != os.getpid():
        raise InputError(
            f"process {os.getpid()} was forked from process {_first[0]}, in which jax had already computed, and would "
            'wait for ever: start processes by "spawn" (multiprocessing.get_context("spawn"))'
        )

"""A process forked after jax has computed is told so, in place of waiting for ever."""

import multiprocessing
import os

import numpy as np
import pytest
import small

import nanobrag_jax as nb
from nanobrag_jax.numerics import processes

IMAGE, EFFECTS = np.ones((2, 2)), nb.DetectorEffects()


def _said(pipe):
    for call in (lambda: nb.simulate(small.experiment()), lambda: nb.detect(IMAGE, EFFECTS)):
        try:
            call()
        except nb.InputError as error:
            pipe.send(str(error))
        else:
            pipe.send("rendered")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_says_what_is_wrong():
    nb.simulate(small.experiment())
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_said, args=(there,))
    child.start()
    try:
        for _ in range(2):
            assert here.poll(30)
            said = here.recv()
            assert said.startswith(f"process {child.pid} was forked from process {os.getpid()}") and "spawn" in said
    finally:
        child.kill()
        child.join()


def test_the_same_process_goes_on():
    processes.refuse_after_fork()
    processes.refuse_after_fork()

"""A guard: minicnn has not become slow. Times are paired with PyTorch's within one process."""

from __future__ import annotations

import numba
import pytest

from reference.bench import measure
from reference.bench.environment import cores
from reference.bench.measure import OtherLoad
from reference.bench.report import BUSY
from reference.bench.workloads import WORKLOADS
from tests.arrays import trains

LIMIT = 0.8  # of the time of PyTorch's better format: a regression shows, a noisy machine does not
ATTEMPTS, ROUNDS = 3, 15


@trains
@pytest.mark.skipif(cores() < 2, reason="this machine has one core")
@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="Numba is held to one thread")
def test_a_training_step_of_lenet5_takes_less_time_than_pytorch():
    workload = WORKLOADS["lenet5/train"]
    problem = workload.problem(64)
    ratios, loads = [], []
    for _ in range(ATTEMPTS):
        with measure.threads(workload.sides.values(), 2):
            sides = {name: kind(problem) for name, kind in workload.sides.items()}
            load = OtherLoad()
            timing = measure.time_in_turns(sides, ROUNDS)
        ours, *torch = timing.seconds
        ratios.append(timing.ratio(ours, timing.best(torch)).median)
        loads.append(load.cores())
        if ratios[-1] <= LIMIT:
            return
    busy = [load for load in loads if load is None or load >= BUSY]
    if busy:
        pytest.skip(
            f"the machine is busy with {max(load or 0 for load in busy):.2f} cores of others"
        )
    pytest.fail(
        f"a training step of LeNet-5 took {min(ratios):.2f} of PyTorch's time where {LIMIT} is the "
        f"limit, in each of {ATTEMPTS} attempts. See: python -m reference.bench lenet5/train"
    )

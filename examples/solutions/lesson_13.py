"""Solutions of lesson 13: beyond one machine."""

from __future__ import annotations

import course
import numpy as np

from examples.solutions import changed


def exercise_1() -> None:
    """The mean weighted by the images: (40 g1 + 24 g2) / 64. The plain mean counts the images of
    the smaller share more than the others.
    """
    lesson = changed(13, until="## One process, then two")
    gradients, x, target = lesson["gradients"], lesson["x"], lesson["target"]
    lenet = lesson["lenet"]
    whole = gradients(lenet, x, target)
    first, second = gradients(lenet, x[:40], target[:40]), gradients(lenet, x[40:], target[40:])

    def apart(mean: np.ndarray) -> float:
        return float(np.linalg.norm(mean - whole) / np.linalg.norm(whole))

    weighted, plain = apart((40 * first + 24 * second) / 64), apart((first + second) / 2)
    course.claim("the weighted mean is the gradient", weighted < 1e-6, weighted)
    course.claim("the plain mean is not", plain > 1e-3, plain)


def exercise_2() -> None:
    """Each number has 4 bytes, and 1 Gbit/s is 125 million bytes a second. For two machines a step
    sends the size of the gradients once: 1.4 ms for LeNet-5, 0.82 s for ResNet-50. So a step has to
    take much longer than that: a step of LeNet-5 on one machine does not, and sharing it gains
    nothing.
    """
    expected = {44_426: 0.0014, 25_600_000: 0.82}
    for numbers, seconds in expected.items():
        taken = 2 * (2 - 1) / 2 * 4 * numbers / 125e6
        course.claim(
            f"{numbers:,} numbers take {seconds} s", round(taken / seconds, 1) == 1.0, taken
        )


def exercise_3() -> None:
    """With ``--max-restarts 1`` torchrun starts both again when one dies, and ``--continue`` lets
    them go on from the last save. Batches depend on seed, epoch and number alone, so the weights at
    the end are those of a run that nobody disturbed, bit for bit.

    The commands, in one terminal (``pkill -P`` ends the children of torchrun alone):

        torchrun --standalone --nproc-per-node 2 --max-restarts 1 -m reference.train lenet5 \\
            --data digits --device cpu --out runs/two --save-every 10 --continue &
        sleep 20; pkill -9 -P $! --oldest

    There is nothing to run here; tests/reference/test_machines.py kills a process of a run.
    """

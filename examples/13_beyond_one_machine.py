# %% [markdown]
# # Beyond one machine
#
# Two machines share every batch. Each takes half of the images, and they exchange their gradients.
# Do they learn the same network as one machine with the whole batch? Almost to the last bit. But
# one common layer would destroy this equality, as a gradient shows.
#
# Run it with `python examples/13_beyond_one_machine.py`. It takes about a minute; `--quick` trains
# for 2 epochs in place of 15, in half a minute. It needs PyTorch (`pip install -e ".[reference]"`),
# no second machine and no network: two processes on this machine do what two machines do. The
# digits are scikit-learn's. The results go to `runs/13_beyond_one_machine/`.

# %%
import argparse
import csv
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import course
import numpy as np

import minicnn
from minicnn import checkpoint, data, evaluation, models, nn, train
from minicnn.viz import paper

parser = argparse.ArgumentParser(description="One process, two processes, and back to minicnn.")
parser.add_argument("--quick", action="store_true", help="two epochs only")
options = course.arguments(parser)
if importlib.util.find_spec("torch") is None:
    print('This lesson needs PyTorch. Use: pip install -e ".[reference]"', file=sys.stderr)
    sys.exit(2)
root = Path(minicnn.__file__).parents[1]  # where reference/ lies
folder = Path("runs/13_beyond_one_machine").absolute()
shutil.rmtree(folder, ignore_errors=True)

# %% [markdown]
# ## The idea, without a second machine
#
# The loss of a batch is the mean over its images. So its gradient is the mean over the gradients of
# the images, and this is the mean of the means of two halves. **Data parallelism** is nothing else:
# it averages the gradients of the machines. Here both halves take turns in one process.

# %%
rng = np.random.default_rng(0)
digits, _, test = data.load("digits")
normalization = data.normalization(digits)
x, target = data.normalize(digits.images[:64], normalization), digits.labels[:64]
loss_function = nn.CrossEntropyLoss()


def gradients(model: nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the gradients of all parameters, one after the other."""
    model.zero_grad()
    logits, cache = model.forward(images, training=True)
    _, loss_cache = loss_function.forward(logits, labels)
    model.backward(loss_function.backward(1.0, loss_cache), cache, input_grad=False)
    return np.concatenate([parameter.grad.ravel() for parameter in model.parameters()])


def difference(model: nn.Module, machines: int) -> float:
    """Return how far the mean over the machines lies from the gradient of the whole, relatively."""
    whole = gradients(model, x, target)
    shares = zip(np.split(x, machines), np.split(target, machines), strict=True)
    mean = sum(gradients(model, *share) for share in shares) / machines
    return float(np.linalg.norm(mean - whole) / np.linalg.norm(whole))


lenet = models.lenet5(rng=rng)
normalised = nn.Sequential(
    nn.Conv2d(1, 6, 5, rng=rng), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    nn.Linear(6 * 12 * 12, 10, rng=rng),
)  # fmt: skip
for machines in (2, 8):
    print(
        f"{machines} machines, relative difference of the gradient: LeNet-5 "
        f"{difference(lenet, machines):.1e}, with batch norm {difference(normalised, machines):.1e}"
    )

# %% [markdown]
# LeNet-5's gradient is the same, except for the rounding of sums in another order: less than a
# millionth. With **batch norm** the difference is thousands of times larger, and it grows as the
# shares become smaller. The reason: each machine normalises by the mean and the variance of its own
# images. So the result for one image depends on the other images of its share. (On GPUs, the
# trainer's option `--sync-bn` shares the means and variances too.)

# %%
for machines in (2, 8):
    without, with_norm = difference(lenet, machines), difference(normalised, machines)
    course.claim("LeNet-5's gradient is the same to a millionth", without < 1e-6, without)
    far = with_norm > 1e3 * without
    course.claim("batch norm's is thousands of times farther off", far, with_norm / without)
two_of, eight = difference(normalised, 2), difference(normalised, 8)
course.claim("smaller shares are farther off", eight > two_of, (eight, two_of))

# %% [markdown]
# ## One process, then two
#
# The trainer in `reference/` is PyTorch. It has the same network, the same data and the same order
# of the images as minicnn. `torchrun` (here by its other name, `torch.distributed.run`) starts two
# processes, and these average their gradients by gloo. Between machines with GPUs they would use
# nccl. Each process computes on one thread.

# %%
epochs = 2 if options.quick else 15
recipe = (
    *("reference.train", "lenet5", "--data", "digits", "--batch-size", "64", "--lr", "2e-3"),
    *("--epochs", str(epochs), "--device", "cpu", "--workers", "0", "--quiet", "--log-steps"),
)
torchrun = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m")


def run(*arguments: str) -> None:
    """Run ``python -m`` with the arguments; show its output, and stop if it fails."""
    print("$ python -m", *arguments, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    print(done.stdout, flush=True)  # so that a notebook shows it too
    if done.returncode:
        raise SystemExit(f"python -m {arguments[0]} ended with {done.returncode}.")


run(*recipe, "--out", str(folder / "one"))
run(*torchrun, *recipe, "--out", str(folder / "two"))

# %% [markdown]
# The losses and accuracies agree line by line. The images per second do not. Two processes on one
# small machine need not be faster: they share its cores, and after each step one waits for the
# other.
#
# ## How large is the difference?


# %%
def losses(name: str) -> np.ndarray:
    """Return the loss of each step of a run."""
    with (folder / name / "steps.csv").open(encoding="utf-8") as file:
        return np.array([float(row["loss"]) for row in csv.DictReader(file)])


one, two = losses("one"), losses("two")
weights = [checkpoint.load(folder / name / "model.safetensors")[0] for name in ("one", "two")]
distance = max(float(np.abs(weights[0][key] - weights[1][key]).max()) for key in weights[0])
print(f"losses of {len(one)} steps: at most {np.abs(one - two).max():.1e} apart")
print(f"weights at the end: at most {distance:.1e} apart")
steps = len(one), len(two)
course.claim(f"both did {20 * epochs} steps", steps == (20 * epochs, 20 * epochs), steps)
most = float(np.abs(one - two).max())
course.claim("the losses agree to 1e-5", most < 1e-5, f"a difference of {most:.1e}")
course.claim("the weights agree to 1e-4", distance < 1e-4, f"a difference of {distance:.1e}")

figure = paper.empty(7.2, 4.4)
upper, lower = figure.subplots(2, 1, sharex=True)
upper.plot(one, color=paper.BLUE, linewidth=4, alpha=0.4, label="one process")
upper.plot(two, color=paper.VERMILION, linewidth=1, label="two processes")
upper.set_ylabel("loss")
upper.legend(frameon=False)
lower.plot(np.maximum(np.abs(one - two), 1e-10), ".", color=paper.INK, markersize=4)
lower.set_yscale("log")
lower.set_ylim(5e-11, max(1e-5, 3 * float(np.abs(one - two).max())))
lower.set_ylabel("difference")
lower.set_xlabel("step; a difference of 0 is drawn at $10^{-10}$")
for axes in (upper, lower):
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
course.show(figure, folder / "difference.png")

# %% [markdown]
# In `difference.png`, the thin line lies in the middle of the thick one. The lower part shows the
# difference of the two. It is the rounding of float32. Training does not remove it and, here, does
# not amplify it. (On the left the points lie in rows: one, two or three times the last bit of a
# number near 2.)
#
# ## Back to minicnn
#
# Both sides have the same names and shapes of weights, so moving weights means copying a file.
# `--check` lets both classify all 359 test images. Its exit code says whether they agree.

# %%
run("reference.exchange", str(folder / "two"), "--check")
model, _ = train.load_model(folder / "two" / "minicnn")
scores = evaluation.evaluate(model, test, normalization)
model.load_state_dict(weights[0])
alone = evaluation.evaluate(model, test, normalization)
same = int((scores.predictions == alone.predictions).sum())
print(f"in minicnn: trained by two {scores.accuracy:.2%}, by one {alone.accuracy:.2%}")
print(f"{same} of {len(test)} test images are taken for the same class")
course.claim("almost all are taken for the same class", same >= 355, f"{same} of {len(test)}")
for result in (scores, alone):
    near = result.accuracy > 0.3 if options.quick else abs(result.accuracy - 0.97) < 0.015
    course.claim("the accuracy is about 97 %", near, f"{result.accuracy:.1%}")

# %% [markdown]
# On the digits, both have about 97 % after 15 epochs.
#
# ## Exercises
#
# `python -m examples.solutions 13.1` shows the solution of the first exercise and runs it.
#
# 1. Let the first machine take 40 images and the second 24. Which mean of their gradients is that
#    of the whole batch? Change `difference`, and check that LeNet-5's stays below 1e-6.
# 2. In a ring of $N$ machines, each sends $2(N - 1)/N$ times the size of the gradients in a step.
#    How long does that take for LeNet-5's 44,426 numbers, and for ResNet-50's 25.6 million, over a
#    network of 1 Gbit/s? How large must a step be, so that sharing it is worth it?
# 3. Start the two processes by hand with `--save-every 10`, and kill one of them by `kill -9`. What
#    do `--max-restarts 1` and `--continue` change? (`torchrun --help`, and `reference/README.md`.)
#    Are the weights at the end those of a run that nobody disturbed?

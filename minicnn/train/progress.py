"""The printed lines of a run: its start, one line for each epoch, the result."""

from __future__ import annotations

import sys

from minicnn.evaluation import TOP_K, Scores
from minicnn.models import own
from minicnn.train.run import Progress, Run


def follow(run: Run, *, bar: bool = True, tell: bool = True) -> Scores:
    """Train ``run`` to its end and print what happens; return the scores on the test images.

    ``bar`` also shows a progress bar, if the output is a terminal. Without ``tell`` these lines are
    not printed; what the network itself prints still appears.
    """
    from tqdm import tqdm

    def say(line: str) -> None:
        if tell:
            tqdm.write(line, file=sys.stdout)

    recipe = run.recipe
    train_n, validation_n, test_n = (len(part) for part in run.splits)
    parameters = sum(param.data.size for param in run.model.parameters())
    say(
        f"{own.short(recipe.model)} ({parameters:,} parameters) on {recipe.data}: "
        f"{train_n:,} images to train, {validation_n:,} to validate, {test_n:,} to test\n"
        f"{recipe.optimizer}, lr {recipe.lr:g} ({recipe.schedule}), epochs: {recipe.epochs}, "
        f"images a batch: {recipe.batch_size}, seed {recipe.seed}; run folder: {run.folder}"
    )
    for note in run.splits.train.notes:
        say(note)
    if run.done:
        say("all epochs are done; here is the result again")
    elif run.epoch or run.batch:
        say(f"going on in epoch {min(run.epoch + 1, recipe.epochs)} after batch {run.batch}")
    # The bar counts images over the whole run, so its rate is images per second and its estimate
    # the time left until the end.
    shown = tqdm(
        total=train_n * recipe.epochs,
        initial=train_n * run.epoch + run.seen,
        unit=" images",
        disable=None if bar else True,
        dynamic_ncols=True,
        leave=False,
        mininterval=0.2,
    )

    def on_batch(now: Progress) -> None:
        shown.update(now.images)
        shown.set_postfix_str(f"loss {now.loss:.4f}, accuracy {now.accuracy:.2%}", refresh=False)

    def on_epoch(row: dict[str, float]) -> None:
        epoch = int(row["epoch"])
        best = "  best" if run.best["epoch"] == epoch else ""
        shown.set_description(
            f"epoch {min(epoch + 1, recipe.epochs)}/{recipe.epochs}", refresh=False
        )
        say(epoch_line(row, recipe.epochs) + best)

    shown.set_description(f"epoch {min(run.epoch + 1, recipe.epochs)}/{recipe.epochs}")
    try:
        run.fit(on_batch, on_epoch)
    finally:
        shown.close()
    if run.epoch < recipe.epochs:
        say(f"stopped early: {recipe.patience} epochs without a better validation")
    scores = run.finish()
    seconds = sum(row["seconds"] for row in run.history)
    say(
        f"test accuracy {scores.accuracy:.2%} (top-{TOP_K} {scores.top_k:.2%}, loss "
        f"{scores.loss:.4f}) on {test_n:,} images, with the weights of epoch "
        f"{int(run.best['epoch'])}; {seconds:.1f} s of training"
    )
    pictures = sorted(path.name for path in run.folder.glob("*.png"))
    say(f"pictures in {run.folder}: {', '.join(pictures)}")
    return scores


def epoch_line(row: dict[str, float], epochs: int) -> str:
    """Return the printed line of an epoch."""
    return (
        f"epoch {int(row['epoch']):>3}/{epochs}  loss {row['train_loss']:.4f}  accuracy "
        f"{row['train_accuracy']:7.2%}  validation loss {row['validation_loss']:.4f}  accuracy "
        f"{row['validation_accuracy']:7.2%}  {row['images_per_second']:,.0f} images/s"
    )

"""Training: the run and its folder (run.py), starting and resuming (begin.py), everything in one
call (fit.py), and the printed lines (progress.py).

minicnn.train.fit(model, data="mnist", epochs=3)            all at once
run = minicnn.train.start(recipe, folder); run.fit()        step by step
"""

from minicnn.interruption import Interrupted
from minicnn.run_folder import TrainError
from minicnn.saved import Config, load_model, read_config
from minicnn.train.begin import resume, start
from minicnn.train.fit import fit
from minicnn.train.progress import epoch_line, follow
from minicnn.train.run import Progress, Run

__all__ = [
    "Config",
    "Interrupted",
    "Progress",
    "Run",
    "TrainError",
    "epoch_line",
    "fit",
    "follow",
    "load_model",
    "read_config",
    "resume",
    "start",
]

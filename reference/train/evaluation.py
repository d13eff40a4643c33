"""What a network is worth on a part of the data: minicnn's scores, over all processes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from minicnn.evaluation import TOP_K, Scores
from reference.train.run import Run


def evaluate(run: Run, part: str) -> Scores:
    """Return the scores of the network in use on the part ``validation`` or ``test``."""
    run.machine.share(run.used.buffers())  # each process has statistics of its own
    model = run.used.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=run.machine.device)
    predictions = []
    with torch.inference_mode(), run.autocast():
        for images, labels in run.loader(part):
            logits = model(run.normalized(images)).float()
            target = labels.to(run.machine.device)
            sums[0] += F.cross_entropy(logits, target, reduction="sum")
            # Of equal logits the lower class counts as the more probable, as argmax has it.
            own = logits.gather(1, target[:, None])
            before = torch.arange(logits.shape[1], device=logits.device) < target[:, None]
            rank = ((logits > own) | ((logits == own) & before)).sum(dim=1)
            sums[1] += (rank < TOP_K).sum()
            predictions.append(logits.argmax(dim=1).cpu())
    loss, hits = run.machine.sum(sums).tolist()
    labels = getattr(run.parts, part).labels
    predicted = np.empty(len(labels), np.int64)
    own_share = torch.cat(predictions).numpy() if predictions else np.empty(0, np.int64)
    for rank, share in enumerate(run.machine.gather(own_share)):
        predicted[rank :: run.machine.size] = share
    n = len(labels)
    return Scores(loss / n, float((predicted == labels).mean()), hits / n, predicted)

"""The tests. ``pytest`` runs them all; ``tests/parity`` holds what compares with torch."""

import os

# Before any kernel runs: a busy machine shall not slow the tests (see minicnn/cli.py).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

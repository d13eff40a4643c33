"""The tests. ``pytest`` runs them all; ``tests/parity`` holds what compares with torch."""

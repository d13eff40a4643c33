"""The parts of the command ``minicnn``, one file each: its options, and what it does."""

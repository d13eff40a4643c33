"""Layers in the manner of courses, right and wrong: what the checker has to say of each."""

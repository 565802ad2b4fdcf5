"""Damaged files and hostile command lines, drawn from a seed: `python -m tests.fuzz --trials 5000 --seed 1`."""

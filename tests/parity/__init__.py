"""Comparisons with the original programs: the golden tests assert on them, `make parity` records what they measure."""

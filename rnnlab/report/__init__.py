"""Comparison of runs: read folders, form arms, compare, write tables, figures and one page."""

"""Figures of a comparison: one file each, one function that draws it; the caption says what line and band are."""

"""The rules of a diagnosis: one per file, with its thresholds, in the order in which a page tells them."""

"""Clipping of parameter gradients, per replica, after the backward pass."""

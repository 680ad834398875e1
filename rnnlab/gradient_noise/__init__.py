"""Noise on parameter gradients, per replica, after clipping and before the update."""

"""Factors on the learning rate as a function of the training step."""

"""Dropout: what is dropped at random in training, and never in evaluation."""

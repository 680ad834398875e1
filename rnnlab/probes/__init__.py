"""Diagnostics: what is measured during training, and when."""

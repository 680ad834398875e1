"""Diagnosis of one run: where along the sequence its gradient was lost, why, and which technique acts on it."""

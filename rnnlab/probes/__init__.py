"""Probes: what is measured besides the loss. Each declares what it needs and when it runs, and changes nothing."""

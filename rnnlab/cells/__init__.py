"""Recurrent cells: one step of a recurrent net, written like the paper's equations, for R replicas at once."""

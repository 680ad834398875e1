"""Parametrisations: which matrices the recurrent weights may be, and what is trained in their place."""

"""Memory: what a configuration needs at least, what there is, and the refusal of what cannot be. Allocates nothing."""

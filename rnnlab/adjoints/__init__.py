"""Rules that change the adjoint dL/dh_t while it travels back through time."""

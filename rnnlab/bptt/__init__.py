"""Back-propagation through time: unrolling a cell and getting the adjoint of every state at every step."""

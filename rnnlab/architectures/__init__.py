"""How cells are wired into a net, and the net: an architecture, its cells, and the readout."""

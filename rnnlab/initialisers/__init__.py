"""How one block of weights (out, in) is drawn. Applied per gate block, per replica."""

"""How one gate's bias vector is drawn."""

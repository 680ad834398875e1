"""The fused engine: forward and backward of a whole sequence in one C++ kernel, adjoint norms included."""

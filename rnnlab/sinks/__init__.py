"""Where results go: console, files, TensorBoard."""

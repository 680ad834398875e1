"""Optimisers from torch.optim with every hyper-parameter spelled out."""

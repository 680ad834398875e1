"""Regularisers: what is added to a replica's loss while it trains."""

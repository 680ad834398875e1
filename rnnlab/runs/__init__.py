"""A run is a folder: identity, manifest, lock."""

"""Files by hash: downloads, weights, registries, CSV, and writing whole files."""

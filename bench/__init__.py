"""Measuring: protocols, metrics, costs, datasets, claims, and the runs that join them."""

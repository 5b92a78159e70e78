"""Traced graphs of networks, and the counts and receptive field read from a graph."""

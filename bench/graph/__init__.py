"""Traced graphs of networks, and the counts, receptive field and roofline read from a graph."""

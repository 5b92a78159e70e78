"""A network's traced graph, and what is read from it: counts, receptive field, roofline."""

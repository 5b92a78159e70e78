"""Times of a method on this machine, and the least time that the machine could take."""

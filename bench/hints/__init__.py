"""Hints at likely mistakes in what users give; a hint changes no number."""

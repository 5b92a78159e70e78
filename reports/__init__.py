"""Pages: what was measured and what papers claim, as tables come in and HTML goes out."""

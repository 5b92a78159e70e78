"""Training: a recipe's learning loop and its parts, checkpoints, logs, several processes."""

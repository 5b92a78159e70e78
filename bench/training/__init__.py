"""Training: a recipe's training loop and its parts, checkpoints, logs, several processes."""

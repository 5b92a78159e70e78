"""The command `sisrbench`: a file for each family of commands."""

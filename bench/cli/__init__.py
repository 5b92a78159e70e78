"""The command `sisrbench`: one file for each family of commands."""

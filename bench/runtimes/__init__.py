"""Programs that compute in the place of PyTorch: runtimes of file formats, and commands."""

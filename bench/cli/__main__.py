"""`python -m bench.cli`: the command, for processes that `sisrbench train` starts."""

from bench.cli.main import main

if __name__ == "__main__":
    main()

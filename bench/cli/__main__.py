"""`python -m bench.cli`: the command, for a process that another one starts."""

from bench.cli.main import main

if __name__ == "__main__":
    main()

"""`python -m revisor`: the same as the command `revisor`."""

from revisor.cli import main

if __name__ == "__main__":
    main()

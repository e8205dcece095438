"""`python -m bench`: the same as `sluice bench`."""

from bench.cli import app

if __name__ == "__main__":
    app()

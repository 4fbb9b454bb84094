"""`python -m edgeemo`."""

from edgeemo.cli import main

if __name__ == "__main__":
    main()

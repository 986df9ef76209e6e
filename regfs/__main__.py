"""`python -m regfs` is `regfs`."""

from regfs.cli import main

if __name__ == "__main__":
    main()

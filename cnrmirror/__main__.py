"""``python -m cnrmirror``."""

from cnrmirror.cli import main

if __name__ == "__main__":
    main()

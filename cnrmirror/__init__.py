"""cnrmirror: a CNR ("app registry") as static files."""

__version__ = "0.1.0"

"""A small disk, filled to the last byte."""

from __future__ import annotations

from pathlib import Path


def fill(folder: Path) -> Path:
    """Take what is left of the disk."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return ballast

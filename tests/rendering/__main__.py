"""Write anew what is made from the table of verbs."""

from __future__ import annotations

from pathlib import Path

from rendering.outputs import render_outputs


def main() -> None:
    """Write every output into the checkout."""
    root = Path(__file__).parents[2]
    for name, text in render_outputs(root).items():
        (root / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

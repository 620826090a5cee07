"""``python -m archflow`` is the command ``archflow``."""

from archflow.cli import main

main()

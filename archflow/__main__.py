"""``python -m archflow`` is the command ``archflow``."""

from archflow.commands.cli import main

main()

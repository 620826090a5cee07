"""``python -m archflow`` is the command ``archflow``."""

from archflow.commands.main import main

if __name__ == "__main__":
    main()

"""How fast archflow is, each row beside a plain reference in the same run: ``python -m bench``."""

"""The committed results still give the committed tables."""

import re
from pathlib import Path

import pytest

from archflow.studies.reproduce import TABLES, Choice, lines_of
from archflow.studies.tables import ranking_table

FOLDER = Path(__file__).parents[2] / "experiments" / "reproduce"


def committed():
    """The tables of the README by their headings."""
    sections = re.split(r"^## ", (FOLDER / "README.md").read_text(), flags=re.MULTILINE)[1:]
    return {each.split("\n")[0]: [row for row in each.split("\n") if row.startswith("|")] for each in sections}


@pytest.mark.parametrize(
    ("heading", "name", "epochs", "left_out"),
    [
        ("table1, 20 epochs", "table1", None, 0),
        ("table1, 200 epochs", "table1", 200, 2),  # FlowerFormer without pre-training appears only in the table above
        ("ablation, 20 epochs", "ablation", None, 0),
        ("operation-probe", "operation-probe", None, 0),
        ("speed", "speed", None, 0),
    ],
)
def test_the_committed_results_give_the_committed_tables(heading, name, epochs, left_out):
    lines = lines_of(name, FOLDER, Choice(budget="two-cores", pretrain_epochs=epochs, device="cpu"))
    made, rows = TABLES.get(name, ranking_table)(lines).splitlines(), committed()[heading]
    assert made[:2] == rows[:2]
    assert set(rows) <= set(made)
    assert len(made) == len(rows) + left_out

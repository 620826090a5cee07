import re
import struct
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import pytest

from archflow.studies.plots import COLOURS, draw
from archflow.studies.probe import probe_table
from archflow.studies.reproduce import present
from archflow.studies.speed import speed_table
from archflow.studies.tables import ranking_table
from tests.studies import PRETEXTS, line

TABLE1 = [
    line(f"{space}{pretext}{seed}", space=space, pretext=pretext, seed=seed, tau=0.1 * place + seed / 50)
    for space in ("nasbench101", "nasbench201")
    for place, pretext in enumerate(PRETEXTS)
    for seed in range(3)
]
PROBED = [
    {
        "space": space,
        "accuracy": right,
        "operations": {"a": right - 0.1, "b": right + 0.1},
        "more_common": {"a": 0.6, "b": 0.7},
    }
    for space in ("nasbench101", "nasbench201")
    for right in (0.8, 0.9)
]
TIMED = [
    {"space": "nasbench201", "encoder": name, "architectures": 100, "seconds": seconds}
    for name, seconds in (("slow", 10.0), ("fast", 0.1))
]
RATIOS = [
    line(f"{pretext}{labels}{seed}", pretext=pretext, labels=labels, seed=seed, tau=tau + labels + seed / 50)
    for pretext, tau in (("none", 0.3), ("fgp", 0.5))
    for labels in (0.1, 0.01, 0.05)
    for seed in range(2)
]


def curves(panel):
    """The points of each labelled curve of a panel."""
    return {
        container.get_label(): list(zip(*container.lines[0].get_data(), strict=True)) for container in panel.containers
    }


def rings(panel):
    return [tuple(xy[0] for xy in each.get_data()) for each in panel.lines if each.get_fillstyle() == "none"]


def test_a_curve_over_labels_with_rings_for_published_values():
    tau, p_at_1 = draw("label-ratio", RATIOS).axes
    found = curves(tau)
    assert list(found) == ["resgatedgcn, none", "resgatedgcn, fgp"]
    assert found["resgatedgcn, fgp"] == [*(pytest.approx((1, 52)), pytest.approx((5, 56)), pytest.approx((10, 61)))]
    assert rings(tau) == [(1, 73.4), (1, 82.2)]
    assert rings(p_at_1) == [(1, 29.7), (1, 48.9)]
    assert tau.get_xlabel() == "labelled, % of the pool"


def test_more_curves_than_colours_and_several_encoders():
    lines = [
        line(f"{encoder}{number}{labels}", encoder=encoder, pretext=f"p{number}", labels=labels, tau=number / 10)
        for encoder in ("gin", "mlp")
        for number in range(len(COLOURS))
        for labels in (0.01, 0.1)
    ]
    found = curves(draw("label-ratio", lines).axes[0])
    assert len(found) == 2 * len(COLOURS)
    assert all([x for x, _ in points] == [1, 10] for points in found.values())


def test_one_point_per_row_with_its_deviation():
    panels = draw("table1", TABLE1).axes
    assert [panel.get_title().split(":")[0] for panel in panels] == 2 * ["nasbench101"] + 2 * ["nasbench201"]
    labels = [label.get_text() for label in panels[0].get_yticklabels()]
    assert labels == [f"resgatedgcn, {pretext}" for pretext in PRETEXTS]
    assert rings(panels[2]) == [(73.4, 0), (79.9, 4), (82.2, 5)]
    fgp = panels[2].containers[5]
    assert fgp.lines[0].get_xdata()[0] == pytest.approx(52)
    (low, _), (high, _) = fgp.lines[2][0].get_segments()[0]
    assert high - low == pytest.approx(4)  # twice the sample deviation of 50, 52, 54


def test_probe_accuracies_beside_the_more_common_answer():
    panels = draw("operation-probe", PROBED).axes
    assert [panel.get_title() for panel in panels] == ["nasbench101", "nasbench201"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["a", "b"]
    points = [container.lines[0].get_data() for container in panels[0].containers]
    assert [(x[0], y[0]) for x, y in points] == [pytest.approx((75, 0)), pytest.approx((95, 1))]
    crosses = [each for each in panels[0].lines if each.get_marker() == "x"]
    assert [(each.get_xdata()[0], each.get_ydata()[0]) for each in crosses] == [
        pytest.approx((60, 0)),
        pytest.approx((70, 1)),
    ]


def test_one_bar_per_encoder_with_the_fastest_on_top():
    (panel,) = draw("speed", TIMED).axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["fast", "slow"]
    assert [bar.get_width() for bar in panel.patches] == [1000, 10]
    low, high = panel.get_ylim()
    assert low > high


class Cells(HTMLParser):
    """The text of a page, its links, and the tags still open at its end."""

    def __init__(self):
        super().__init__()
        self.text, self.open, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and not value.startswith("#")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.mark.parametrize(
    ("name", "lines"),
    [("draws", TABLE1[:18]), ("label-ratio", RATIOS), ("operation-probe", PROBED), ("speed", TIMED)],
)
def test_a_table_and_plots_are_made_from_lines_alone(tmp_path, name, lines):
    table, files = present(name, "", lines, tmp_path)
    assert [file.name for file in files] == [f"{name}.{ending}" for ending in ("md", "png", "svg", "html")]
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in files}
    markdown, png, svg, page = (file.read_bytes() for file in files)
    assert markdown.decode() == table
    make = {"operation-probe": probe_table, "speed": speed_table}.get(name, ranking_table)
    assert table.startswith(make(lines))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">II", png[16:24])) > 300
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    parser = Cells()
    parser.feed(page.decode())
    assert parser.open == []
    assert parser.links == []
    text = "".join(parser.text)
    for cell in re.findall(r"[^|\n]+", table):
        if not set(cell) <= set("-: "):
            assert cell.strip().replace("**", "") in text
    assert svg.decode()[svg.decode().index("<svg") :] in page.decode()
    again = tmp_path / "again"
    assert present(name, "", lines, again)[0] == table
    assert [(again / file.name).read_bytes() for file in files] == [markdown, png, svg, page]


def test_values_from_lines_are_escaped_in_html(tmp_path):
    lines = [line(0, encoder="<script>alert(1)</script>"), line(1, encoder="b", pretext="<b>")]
    present("table1", "", lines, tmp_path)
    page = (tmp_path / "table1.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_undefined_scores_are_no_error(tmp_path):
    for name in ("table1", "label-ratio"):
        present(name, "", [line(0, tau=None, p_at_1=None), line(1, pretext="none", tau=None)], tmp_path)


def test_without_matplotlib_only_the_table_is_written(tmp_path, monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "archflow.studies.plots")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    table, files = present("table1", "", TABLE1, tmp_path)
    assert [file.name for file in files] == ["table1.md"]
    assert "pip install 'archflow[plots]'" in table
    assert "pip" not in files[0].read_text()

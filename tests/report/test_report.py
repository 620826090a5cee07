"""The report: the content of the page, and its behaviour in a real browser."""

from __future__ import annotations

import base64
import csv
import gzip
import json
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archflow.archs.batch import ArchBatch
from archflow.benchmarks.nasbench201.space import NASBench201
from archflow.report import page as report_module
from archflow.report.page import Report, _principal_components, _ranks, write_report
from tests.report import read_data

CHROMIUM, CHROMEDRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
EVIL = "</script><script>window.broken = true</script><!-- &amp; \u2028"


def make_report(n: int = 60, **changes: Any) -> Report:
    space, rng = NASBench201(), np.random.default_rng(0)
    archs = space.sample(n, seed=0)
    accuracy = rng.uniform(10, 94, n)
    report = Report(
        title="A ranking",
        archs=archs,
        strings=space.format(archs),
        scores={"FGP": accuracy + rng.normal(0, 9, n), "no pre-training": accuracy + rng.normal(0, 30, n)},
        accuracy=accuracy,
        surrogate=rng.normal(size=(n, 7)),
        curves={"Pre-training loss": {"reconstruction": [3.0, 2.0, 1.0]}, "Validation τ": {"FGP": [0.1, 0.2, 0.4]}},
        rows=[{"method": "FGP", "τ": 0.81, "seconds": 12.0}, {"method": "none", "τ": 0.6, "seconds": float("nan")}],
        settings={"seed": 0, "encoder": {"name": "resgatedgcn", "hidden": np.int64(128), "flow": {"k": 7}}},
        held_out=np.arange(n) % 3 > 0,
    )
    return replace(report, **changes)


def varied_report() -> Report:
    """DAGs of 2 to 40 nodes, with several inputs and outputs, long edges and a node without outgoing edges."""
    rng = np.random.default_rng(1)
    vocabulary = ["input", "conv", EVIL, "none", "output"]
    graphs = [
        (["input", "output"], [(0, 1)]),
        (["input", "input", "conv", "output", "output"], [(0, 2), (1, 2), (2, 3), (1, 4)]),
        (["output", EVIL, "input"], [(2, 1), (1, 0), (2, 0)]),
        (["input", "none"], []),
    ]
    for nodes in (9, 40):
        names = ["input", *rng.choice(["conv", EVIL], nodes - 2), "output"]
        graphs.append((names, [(i, j) for j in range(nodes) for i in range(j) if i == j - 1 or rng.random() < 0.15]))
    archs = ArchBatch.from_graphs(graphs, vocabulary)
    n = len(archs)
    accuracy = np.array([0.9, np.nan, 0.7, 0.8, 0.85, np.nan])
    scores = {EVIL: -np.arange(n, dtype=float)}
    return Report(EVIL, archs, [EVIL] * n, scores, accuracy, rng.normal(size=(n, 1)), {}, [], {})


def written(path: Path, report: Report) -> tuple[str, dict[str, Any]]:
    write_report(path, report)
    return path.read_text("utf-8"), read_data(path)


# Content of the page


def test_the_page_refers_to_nothing_external(tmp_path: Path) -> None:
    page, _ = written(tmp_path / "report.html", make_report())
    found: list[tuple[str, str, str | None]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: found.extend((tag, *attr) for attr in attrs)  # type: ignore[method-assign]
    parser.feed(page)
    fetched = [value for _, name, value in found if name in {"src", "href", "srcset", "action", "data", "poster"}]
    assert fetched == ["data:,"]
    assert any("default-src 'none'" in (value or "") for _, _, value in found)
    folder = Path(report_module.__file__).parent
    own = "".join(file.read_text() for file in folder.iterdir() if file.suffix in {".css", ".html", ".js"})
    assert set(re.findall(r"https?://[^\"'\s]+", own)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in own
    assert "@import" not in own


def test_text_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    plain, _ = written(tmp_path / "plain.html", make_report())
    page, data = written(tmp_path / "evil.html", varied_report())
    assert page.count("</script>") == plain.count("</script>")
    assert "<script>window.broken" not in page
    assert data["strings"][0] == EVIL
    assert data["graphs"]["vocabulary"][2] == EVIL


def test_placeholders_in_the_data_are_left_alone(tmp_path: Path) -> None:
    page, data = written(tmp_path / "report.html", make_report(title="$data ${script} $5", settings={"a": "$plotly"}))
    assert "<title>$data ${script} $5</title>" in page
    assert data["settings"] == {"a": "$plotly"}


def test_nan_and_infinity_become_null(tmp_path: Path) -> None:
    report = make_report()
    assert report.accuracy is not None
    accuracy = report.accuracy.copy()
    best = int(np.argmax(report.scores["FGP"]))
    accuracy[best] = np.nan
    _, data = written(
        tmp_path / "report.html",
        replace(report, accuracy=accuracy, curves={"loss": {"a": [np.inf, 1.0]}}, settings={"x": float("nan")}),
    )
    assert data["rows"][1]["seconds"] is None
    assert data["curves"][0]["curves"]["a"] == [None, 1.0]
    assert data["settings"]["x"] is None
    assert data["strings"][0] == report.strings[best]
    assert data["accuracy"][0] is None
    assert data["trueRank"][0] is None
    assert data["methods"][0]["rank"][0] == 1
    assert data["methods"][0]["rankOfKnown"][0] is None
    assert sorted(rank for rank in data["methods"][0]["rankOfKnown"] if rank) == list(range(1, 60))


def test_unknown_accuracies_are_left_out(tmp_path: Path) -> None:
    for accuracy in (None, np.full(60, np.nan)):
        _, data = written(tmp_path / "report.html", make_report(accuracy=accuracy))
        assert data["accuracy"] is None
        assert data["known"] == 0
        assert data["colourBar"]["label"][-1] == pytest.approx(data["methods"][0]["score"][0], rel=1e-4)


def test_the_columns_describe_the_same_architectures(tmp_path: Path) -> None:
    report = make_report()
    assert report.accuracy is not None
    assert report.held_out is not None
    _, data = written(tmp_path / "report.html", report)
    order = [list(report.strings).index(string) for string in data["strings"]]
    assert sorted(order) == list(range(60))
    for method in data["methods"]:
        assert [order[place] for place in method["best"]] == list(np.argsort(-report.scores[method["name"]])[:30])
    np.testing.assert_allclose(data["accuracy"], report.accuracy[order], rtol=1e-5)
    np.testing.assert_allclose(data["methods"][1]["score"], report.scores["no pre-training"][order], rtol=1e-4)
    assert data["usedInTraining"] == [place for place, index in enumerate(order) if not report.held_out[index]]
    operations = np.reshape(data["graphs"]["operations"], (60, 8))
    np.testing.assert_array_equal(operations, report.archs.operations.reshape(60, 8)[order])
    assert len(data["graphs"]["shapes"]) == 1


def test_every_graph_keeps_its_nodes_and_edges(tmp_path: Path) -> None:
    report = varied_report()
    _, data = written(tmp_path / "report.html", report)
    graphs, start = data["graphs"], 0
    for place, shape in enumerate(graphs["shape"]):  # scores are descending, so the order is kept
        nodes, edges = graphs["shapes"][shape]["nodes"], graphs["shapes"][shape]["edges"]
        names = [graphs["vocabulary"][operation] for operation in graphs["operations"][start : start + nodes]]
        assert (names, [tuple(edge) for edge in edges]) == report.archs.graph(place)
        start += nodes


def test_what_is_trained_and_how_sure_the_prediction_is(tmp_path: Path) -> None:
    plain = make_report()
    assert plain.accuracy is not None
    assert plain.held_out is not None
    bounds = np.stack([plain.scores["FGP"] - 8, plain.scores["FGP"] + 5], 1)
    _, data = written(tmp_path / "report.html", replace(plain, intervals={"FGP": bounds}))
    order = [list(plain.strings).index(string) for string in data["strings"]]
    held = plain.accuracy[plain.held_out], bounds[plain.held_out]
    inside = [low <= value <= high for value, (low, high) in zip(*held, strict=True)]
    found = data["methods"][0]["intervals"]
    assert found["covered"] == pytest.approx(sum(inside) / 40)
    np.testing.assert_allclose(np.stack([found["low"], found["high"]], 1), bounds[order], rtol=1e-4)
    assert data["methods"][1]["intervals"] is None
    best = plain.accuracy[~plain.held_out].max()
    assert data["bestTrained"]["accuracy"] == pytest.approx(best, rel=1e-5)
    assert data["bestTrained"]["rank"] == 1 + sum(plain.accuracy > best)
    assert data["compared"] == 40
    _, data = written(tmp_path / "report.html", replace(plain, best_trained=200.0))
    assert data["bestTrained"] == {"accuracy": 200.0, "rank": 1}
    assert written(tmp_path / "report.html", replace(plain, held_out=None))[1]["bestTrained"] is None


def test_plotly_is_in_the_page_with_its_licence(tmp_path: Path) -> None:
    page, _ = written(tmp_path / "report.html", make_report())
    folder = Path(report_module.__file__).with_name("plotly")
    packed = re.findall(r'<script type="text/plain" id="plotly">(.*?)</script>', page, re.DOTALL)
    assert gzip.decompress(base64.b64decode(packed[0])) == (folder / "plotly-basic.min.js").read_bytes()
    assert "Permission is hereby granted, free of charge" in page


def test_only_part_of_a_large_space_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "_DRAWN", 80)
    report = make_report(200, held_out=np.arange(200) >= 8)
    _, data = written(tmp_path / "report.html", report)
    assert len(data["strings"]) == 80
    assert len(set(data["strings"])) == 80
    assert data["archs"] == data["known"] == 200
    assert max(data["trueRank"]) > 100
    assert len(data["usedInTraining"]) == 8


def test_the_page_of_the_whole_space_is_small(tmp_path: Path) -> None:
    space, rng = NASBench201(), np.random.default_rng(0)
    archs, n = space.enumerate(), space.size
    scores = {name: rng.normal(size=n) for name in ("FGP", "proxy", "none")}
    report = Report("All", archs, space.format(archs), scores, rng.normal(size=n), rng.normal(size=(n, 7)), {}, [], {})
    write_report(tmp_path / "report.html", report)
    assert (tmp_path / "report.html").stat().st_size < 1.5e6


def test_ranks_count_the_higher_values() -> None:
    values = np.array([0.5, np.nan, 0.9, 0.5, 0.1])
    np.testing.assert_array_equal(_ranks(values), [2, np.nan, 1, 2, 4])


def test_principal_components_have_the_variances_of_the_correlation_matrix() -> None:
    rng = np.random.default_rng(0)
    surrogate = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) * 0.02 + 3
    components, explained = _principal_components(surrogate)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(surrogate.T))[::-1]
    np.testing.assert_allclose(components.var(axis=0), eigenvalues[:2])
    np.testing.assert_allclose(explained, eigenvalues[:2] / 5)
    np.testing.assert_allclose(np.cov(components.T)[0, 1], 0, atol=1e-9)


@pytest.mark.parametrize("surrogate", [np.arange(4.0)[:, None], np.zeros((4, 3)), np.ones((1, 2))])
def test_principal_components_of_degenerate_surrogates(surrogate: np.ndarray) -> None:
    components, explained = _principal_components(surrogate)
    assert components.shape == (len(surrogate), 2)
    assert np.isfinite(components).all()
    assert len(explained) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scores": {}}, "at least one method"),
        ({"scores": {"FGP": np.zeros(3)}}, "the scores of 'FGP' .* 60, not 3"),
        ({"strings": ["a"]}, "strings .* 60, not 1"),
        ({"accuracy": np.zeros(61)}, "the accuracy .* 60, not 61"),
        ({"held_out": np.ones(2, bool)}, "held_out .* 60, not 2"),
        ({"surrogate": np.full((60, 2), np.nan)}, "finite"),
        ({"intervals": {"FGP": np.zeros((3, 2))}}, "the intervals of 'FGP' .* 60, not 3"),
        ({"intervals": {"other": np.zeros((60, 2))}}, "no scores of 'other'"),
    ],
)
def test_an_inconsistent_report_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_report(**changes)


def test_an_old_report_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    write_report(path, make_report())
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, make_report(title="Another"))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR


# Behaviour in a browser

Open = Callable[[Report], Any]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (CHROMIUM.exists() and CHROMEDRIVER.exists()):
        pytest.skip("needs /usr/bin/chromium and /usr/bin/chromedriver (Debian: chromium, chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    switches = (
        "headless=new no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
        "disable-component-update disable-sync disable-dev-shm-usage window-size=1280,900"
    )
    for switch in switches.split():
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(str(CHROMEDRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Open:
    from selenium.webdriver.support.ui import WebDriverWait

    def open_report(report: Report) -> Any:
        write_report(tmp_path / "report.html", report)
        for kind in ("browser", "performance"):
            browser.get_log(kind)  # reading empties it: what follows is of this page
        browser.get((tmp_path / "report.html").as_uri())
        WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.drawn"))
        return browser

    return open_report


def css(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


def requests(browser: Any) -> list[str]:
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def hover(browser: Any, plot_id: str, index: int) -> None:
    """Move the pointer to where architecture ``index`` is drawn."""
    from selenium.webdriver.common.action_chains import ActionChains

    plot = css(browser, f"#{plot_id}")[0]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    x, y = browser.execute_script(
        """const plot = arguments[0], box = plot.getBoundingClientRect();
        const trace = plot.data.findIndex((trace) => trace.customdata?.includes(arguments[1]));
        const place = plot.data[trace].customdata.indexOf(arguments[1]);
        const dot = plot.querySelectorAll(".scatterlayer .trace")[trace].querySelectorAll(".point")[place];
        const { x, y, width, height } = dot.getBoundingClientRect();
        return [x + width / 2 - box.x - box.width / 2, y + height / 2 - box.y - box.height / 2]""",
        plot,
        index,
    )
    away = ActionChains(browser).move_to_element_with_offset(plot, 0, -int(plot.size["height"] / 2) + 2)
    away.move_to_element_with_offset(plot, round(x), round(y)).perform()


def card_is_open(browser: Any) -> bool:
    return bool(css(browser, "#card")[0].is_displayed())


def test_a_browser_shows_the_whole_report(opened: Open) -> None:
    report = make_report()
    browser = opened(report)
    assert browser.title == "A ranking"
    assert css(browser, "h1")[0].text == "A ranking"
    headings = [heading.text for heading in css(browser, "h2")]
    assert headings == [
        "Results",
        "Predicted and true ranking",
        "Map of flow surrogates",
        "Training",
        "The best by prediction",
        "All architectures",
        "Settings",
    ]
    assert [cell.text for cell in css(browser, "#results tbody tr")[0].find_elements("css selector", "th, td")] == [
        "FGP",
        "0.810",
        "12",
    ]
    for plot in css(browser, ".plot"):
        points = plot.find_elements("css selector", ".scatterlayer .point, .scatterlayer .js-line")
        assert points, f"{plot.get_attribute('id') or plot.get_attribute('aria-label')} is empty"
    assert len(css(browser, "#prediction-plot .point")) == 60
    assert len(css(browser, "#map-plot .point")) == 60 + 10
    assert len(css(browser, "#best-cells svg")) == 10
    assert len(css(browser, "#best-cells rect")) == 80
    assert {label.text for label in css(browser, "#best-cells svg")[0].find_elements("css selector", "text")} >= {
        "input",
        "output",
    }
    assert "flow.k" in css(browser, "#settings")[0].text
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_browser_requests_nothing_but_the_page(opened: Open) -> None:
    browser = opened(make_report())
    hover(browser, "map-plot", 0)
    fetched = [url for url in requests(browser) if not url.startswith(("data:", "blob:"))]
    assert fetched == [browser.current_url]
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_pointing_at_a_dot_shows_its_cell(opened: Open) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    report = make_report()
    assert report.accuracy is not None
    browser = opened(report)
    wait = WebDriverWait(browser, 10)
    assert not card_is_open(browser)
    best = int(np.argmax(report.scores["FGP"]))
    for plot in ("map-plot", "prediction-plot"):
        hover(browser, plot, 0)
        wait.until(card_is_open)
        assert len(css(browser, "#card svg rect")) == 8
        assert css(browser, "#card code")[0].text.replace("\n", "") == report.strings[best]
        assert f"accuracy\n{report.accuracy[best]:.2f}" in css(browser, "#card")[0].text
        css(browser, "body")[0].send_keys(Keys.ESCAPE)
        assert not card_is_open(browser)


def test_a_click_keeps_the_card(opened: Open) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    browser = opened(make_report())
    wait = WebDriverWait(browser, 10)

    def shows(index: int) -> bool:
        string = browser.execute_script("return report.strings[arguments[0]]", index)
        return card_is_open(browser) and css(browser, "#card code")[0].get_attribute("textContent") == string

    far = browser.execute_script("return report.methods[0].rank.indexOf(60)")  # not under the card of the first
    for index in (3, far):  # the second click replaces the card that the first has kept
        hover(browser, "prediction-plot", index)
        ActionChains(browser).click().perform()
        wait.until(lambda _, index=index: shows(index))
    hover(browser, "prediction-plot", 3)
    assert shows(far)
    css(browser, "#prediction-heading")[0].click()
    assert not card_is_open(browser)
    hover(browser, "prediction-plot", 3)
    wait.until(lambda _: shows(3))


def test_the_reader_can_choose_method_and_axes(opened: Open) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser = opened(make_report())
    wait = WebDriverWait(browser, 10)
    title = "return document.querySelector('#prediction-plot .xtitle').textContent"
    assert "predicted rank by FGP" in browser.execute_script(title)
    css(browser, "#method label")[1].click()
    wait.until(lambda b: "predicted rank by no pre-training" in b.execute_script(title))
    css(browser, "#scale label")[2].click()
    wait.until(lambda b: "score by no pre-training" in b.execute_script(title))
    assert len(css(browser, "#prediction-plot .point")) == 60


def test_both_colour_schemes_are_drawn(opened: Open) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser = opened(make_report())
    look = """return [getComputedStyle(document.body).backgroundColor,
        document.querySelector("#map-plot .point").style.fill]"""
    seen: list[list[str]] = []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        WebDriverWait(browser, 10).until(lambda b: not seen or b.execute_script(look)[1] != seen[0][1])
        seen.append(browser.execute_script(look))
    assert seen[0][0] != seen[1][0]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_browser_shows_dags_of_any_shape(opened: Open) -> None:
    report = varied_report()
    browser = opened(report)
    assert browser.execute_script("return window.broken") is None
    assert css(browser, "h1")[0].get_attribute("textContent") == EVIL
    drawn = [len(svg.find_elements("css selector", "rect")) for svg in css(browser, "#best-cells svg")]
    assert drawn == [2, 5, 3, 2, 9, 40]
    overlaps = browser.execute_script(
        """return [...document.querySelectorAll("#best-cells svg")].flatMap((svg) => {
          const boxes = [...svg.querySelectorAll("rect")].map((rect) => rect.getBBox());
          return boxes.filter((a, i) => boxes.some((b, j) => j < i && a.x < b.x + b.width && b.x < a.x + a.width
            && a.y < b.y + b.height && b.y < a.y + a.height));
        }).length"""
    )
    assert overlaps == 0
    clipped = browser.execute_script(
        """return [...document.querySelectorAll("#best-cells svg")].filter((svg) => {
          const { x, y, width, height } = svg.viewBox.baseVal, box = svg.getBBox();
          return box.x < x || box.y < y || box.x + box.width > x + width || box.y + box.height > y + height;
        }).length"""
    )
    assert clipped == 0
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_browser_shows_a_report_without_accuracies(opened: Open) -> None:
    browser = opened(make_report(accuracy=None, curves={}, rows=[], settings={}, held_out=None))
    assert [heading.text for heading in css(browser, "h2")] == [
        "Predicted and true ranking",
        "Map of flow surrogates",
        "The best by prediction",
        "All architectures",
    ]
    assert "No true accuracy is known" in css(browser, "#prediction")[0].text
    assert len(css(browser, "#map-plot .point")) == 60 + 10
    assert "accuracy" not in css(browser, "#best")[0].text
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_browser_says_when_only_part_is_drawn(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "_DRAWN", 40)
    browser = opened(make_report())
    assert "40 of the 60 architectures are drawn" in css(browser, "#map-note")[0].text
    assert len(css(browser, "#prediction-plot .point")) == 40


def full_report() -> Report:
    report = make_report()
    bounds = {"FGP": np.stack([report.scores["FGP"] - 8, report.scores["FGP"] + 5], 1)}
    return replace(
        report,
        intervals=bounds,
        curves={"Best accuracy found": {"gp": [80.0, 90.0], "random": [80.0, 81.0]}, **report.curves},
        over={"Best accuracy found": "networks trained"},
        rows=[{"method": name, "τ": (0.8, 0.02), "P@1%": 0.5, "P@5%": 0.6, "cells": 40} for name in report.scores],
        apart=[{"method": "training scores", "τ": 0.9}],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 420])
def test_everything_fits_at_any_width(opened: Open, browser: Any, width: int, scheme: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        opened(full_report())
        assert browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches") == (scheme == "dark")
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        outside = browser.execute_script(
            """const cut = [...document.querySelectorAll("#results td, #all-table td, #settings td, svg.cell rect")];
            return cut.filter((each) => {
              const { left, right } = each.getBoundingClientRect();
              return left < 0 || right > innerWidth;
            }).length"""
        )
        assert outside == 0
        scrolled = """return [...document.querySelectorAll("#best-cells .drawing")]
            .filter((each) => each.scrollWidth > each.clientWidth).length"""
        assert browser.execute_script(scrolled) == 0
        cells = [cell.text for cell in css(browser, "#results tbody tr")[0].find_elements("css selector", "th, td")]
        assert cells == ["FGP", "0.800 ± 0.020", "0.500", "0.600", "40"]
        for plot in ("prediction-plot", "certainty-plot", "map-plot"):
            hover(browser, plot, 0)
            WebDriverWait(browser, 10).until(card_is_open)
            covered = browser.execute_script(
                """const [a, b] = ["card", arguments[0]].map((id) => byBox(document.getElementById(id)));
                function byBox(each) { return each.getBoundingClientRect(); }
                const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                return Math.max(0, across) * Math.max(0, down) / (b.width * b.height)""",
                plot,
            )
            assert covered < 0.1, plot
        assert [entry["message"] for entry in browser.get_log("browser")] == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_references_intervals_and_the_best_of_every_method(opened: Open) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    report = full_report()
    browser = opened(report)
    foot = [row.text.split() for row in css(browser, "#results tfoot tr")]
    assert foot == [
        ["training", "scores", "0.900", "–", "–", "–"],
        ["random", "order", "0.000", "0.025", "0.050", "–"],  # one of 40, two of 40
        ["true", "order", "1.000", "1.000", "1.000", "–"],
    ]
    assert len(css(browser, "#certainty-plot .errorbar")) == 30
    for plot in ("prediction-plot", "certainty-plot"):
        assert "best trained: " in css(browser, f"#{plot} .annotation-text")[0].get_attribute("textContent")
    types = "return [...document.querySelectorAll('.curves .plot')].map((plot) => plot.layout.yaxis.type)"
    assert browser.execute_script(types) == ["linear", "log", "linear"]
    assert [plot.get_attribute("aria-label") for plot in css(browser, "#search .plot")] == [
        "Best accuracy found by networks trained"
    ]
    css(browser, "#best-method label")[1].click()
    best = report.strings[int(np.argmax(report.scores["no pre-training"]))]
    WebDriverWait(browser, 10).until(lambda b: css(b, "#best-cells code")[0].get_attribute("textContent") == best)
    marked = browser.execute_script("return report.methods[1].best.slice(0, 10)")
    used = set(browser.execute_script("return report.usedInTraining"))
    assert len(css(browser, "#best-cells .used")) == len(used.intersection(marked))


def test_the_table_is_searched_sorted_and_taken_along(opened: Open, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    report = full_report()
    assert report.accuracy is not None
    browser = opened(report)

    def first() -> list[str]:
        return [cell.get_attribute("textContent") for cell in css(browser, "#all-table tbody tr:first-child td")]

    assert len(css(browser, "#all-table tbody tr")) == 20
    assert first()[:2] == [report.strings[int(np.argmax(report.scores["FGP"]))], "1"]
    accuracy = css(browser, "#all-table thead button")[4]
    for sign in (1, -1):
        accuracy.click()
        assert first()[0] == report.strings[int(np.argmax(sign * report.accuracy))]
    css(browser, "#all-table summary")[0].click()
    WebDriverWait(browser, 10).until(lambda b: css(b, "#all-table details svg"))
    css(browser, "#all-search")[0].send_keys("none~0 CONNECT~2")
    fitting = [string for string in report.strings if "none~0" in string and "connect~2" in string]
    assert 0 < len(fitting) < 20
    assert len(css(browser, "#all-table tbody tr")) == len(fitting)

    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    css(browser, "#all-csv")[0].click()
    taken = tmp_path / "A-ranking.csv"
    WebDriverWait(browser, 10).until(lambda _: taken.exists())
    with taken.open(newline="") as file:
        rows = list(csv.DictReader(file))
    by_arch = {row["architecture"]: row for row in rows}
    assert set(by_arch) == set(report.strings)
    for i, string in enumerate(report.strings):
        assert float(by_arch[string]["accuracy"]) == pytest.approx(report.accuracy[i], rel=1e-4)
        assert float(by_arch[string]["high by FGP"]) == pytest.approx(report.scores["FGP"][i] + 5, rel=1e-3)
        assert by_arch[string]["trained"] == ("yes" if i % 3 == 0 else "")

// Plots

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const settings = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  toImageButtonOptions: { format: "svg" },
};
// The best values contrast with the background in both schemes.
const scales = {
  light: ["#ded8cb", "#e2b78f", "#cf6f5c", "#84336f", "#27124d"],
  dark: ["#40405a", "#7a4480", "#c85f68", "#efab72", "#fdf0c4"],
};
const lines = {
  light: ["#2f5d8c", "#c2571a", "#3f7d4e", "#8a3f7c", "#8a7320", "#4a4a4a"],
  dark: ["#86b3e0", "#f0965a", "#86c595", "#d795c8", "#d6bd62", "#b5b5b5"],
};
// Plotly interprets some tags in texts; names must be shown literally.
const literal = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function layoutOf(x, y, more = {}) {
  const axis = ({ title, ...own }) => ({
    title: { text: literal(title), standoff: 12, font: { size: 13, color: colour("ink") } },
    gridcolor: colour("grid"), linecolor: colour("faint"), zeroline: false, ticks: "", tickfont: { size: 12 },
    automargin: true, ...own,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("muted") },
    margin: { l: 56, r: 16, t: 34, b: 52 },
    hovermode: "closest", hoverdistance: 14, dragmode: "zoom",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("muted"), activecolor: colour("ink") },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", font: { color: colour("ink") }, itemsizing: "constant" },
    ...more,
    xaxis: axis(x), yaxis: axis(y),
  };
}

/** Points for the architectures at `chosen`; the card finds them by their `customdata`. */
function points(name, chosen, x, y, marker) {
  const pick = (column) => chosen.map((index) => column[index]);
  const trace = { type: "scatter", mode: "markers", hoverinfo: "none", customdata: chosen, marker };
  return { ...trace, name: literal(name), x: pick(x), y: pick(y) };
}
const rings = (size, name) => ({ size, color: "rgba(0,0,0,0)", line: { width: 2, color: colour(name) } });
const dotSize = Math.max(4, Math.min(9, 50 / Math.sqrt(Math.sqrt(everyone.length) + 1)));

const drawnNote = data.strings.length === data.archs ? ""
  : ` ${whole(data.strings.length)} of the ${whole(data.archs)} architectures are drawn: the best, those with ` +
    "labels, and a random sample of the rest; ranks refer to all.";
const chosen = { method: data.methods[0], scale: "ranks", best: data.methods[0] };
const SHOWN = 10;

/** A line across a plot at the best architecture that is trained already, with its name; nothing if `y` is null. */
function trainedLine(y) {
  if (y === null || !data.bestTrained) return { shapes: [], annotations: [] };
  const across = { xref: "paper", x0: 0, x1: 1, y0: y, y1: y };
  const text = `best trained: ${formatAccuracy(data.bestTrained.accuracy)}`;
  return {
    shapes: [{ type: "line", ...across, line: { width: 1.5, color: colour("mark"), dash: "dash" } }],
    annotations: [{
      xref: "paper", x: 0.01, xanchor: "left", y, yanchor: "bottom", text, showarrow: false, bgcolor: colour("veil"),
      font: { size: 12, color: colour("mark") },
    }],
  };
}

function drawPrediction() {
  const method = chosen.method, byRank = chosen.scale !== "values";
  const share = (ranks) => ranks.map((rank) => (rank === null ? null : (100 * rank) / data.known));
  const x = byRank ? share(method.rankOfKnown ?? method.rank) : method.score;
  const y = byRank ? share(data.trueRank) : data.accuracy;
  const seen = everyone.filter((index) => y[index] !== null && x[index] !== null);
  const used = seen.filter((index) => usedInTraining.has(index));
  const end = chosen.scale === "best" ? 10 : 100;
  const ranks = (title) => ({ title, ticksuffix: " %", range: [end * 1.015, -end * 0.015] });
  const corner = {
    type: "rect", x0: 0, y0: 0, x1: 5, y1: 5, line: { width: 1.5, color: colour("ink"), dash: "dot" },
  };
  const { accuracy, rank } = data.bestTrained ?? { accuracy: null, rank: null };
  const best = trainedLine(byRank ? share([rank])[0] : accuracy);
  if (byRank) best.shapes.push(corner);
  const layout = layoutOf(
    byRank ? ranks(`predicted rank by ${method.name}, best at the right`) : { title: `score by ${method.name}` },
    byRank ? ranks("true rank, best at the top") : { title: "true accuracy" },
    { ...best, showlegend: used.length > 0 },
  );
  const marker = { size: dotSize, color: colour("accent"), opacity: everyone.length > 2000 ? 0.28 : 0.7 };
  if (chosen.scale === "best") Object.assign(marker, { size: dotSize + 1.5, opacity: 0.7 });
  byId("prediction-note").textContent = predictionNote(byRank);
  const traces = [points("held out", seen.filter((index) => !usedInTraining.has(index)), x, y, marker)];
  if (used.length) traces.push(points("used in training", used, x, y, rings(dotSize + 3.5, "mark")));
  return Plotly.react(byId("prediction-plot"), traces, layout, settings);
}

function predictionNote(byRank) {
  if (!byRank) return `Accuracies against scores as they are. Of a score, only the order counts.${drawnNote}`;
  const among = data.known < data.archs ? `the ${whole(data.known)} of known accuracy` : "all architectures";
  return `Ranks are given as a share of ${among}: 1 % is the best hundredth. A perfect ranking is the diagonal. ` +
    `The dotted corner holds those of the predicted best 5 % that are among the true best 5 %.${drawnNote}`;
}

/** The chosen method if it has intervals, else the first that has. */
const sureMethod = () => [chosen.method, ...data.methods].find((method) => method.intervals);

/** The best by prediction, each with its interval and what is true of it. */
function drawCertainty() {
  const method = sureMethod();
  const { low, high, covered } = method.intervals, best = method.best, steps = best.map((_, i) => i + 1);
  const along = Array(everyone.length).fill(null);
  best.forEach((index, i) => { along[index] = steps[i]; });
  const error = {
    type: "data", symmetric: false, thickness: 1.5, width: 3, color: colour("accent"),
    array: best.map((index) => high[index] - method.score[index]),
    arrayminus: best.map((index) => method.score[index] - low[index]),
  };
  const predicted = points("predicted, 80 % interval", best, along, method.score, {
    size: 7, color: colour("accent"),
  });
  const traces = [{ ...predicted, error_y: error }];
  const known = best.filter((index) => isKnown && data.accuracy[index] !== null);
  const marker = { size: 8, symbol: "diamond", color: colour("best"), line: { width: 1, color: colour("paper") } };
  if (known.length) traces.push(points("true accuracy", known, along, data.accuracy, marker));
  const used = best.filter((index) => usedInTraining.has(index));
  if (used.length) traces.push(points("used in training", used, along, method.score, rings(13, "mark")));
  byId("certainty-note").textContent = `The ${best.length} architectures that ${method.name} scores highest; with ` +
    "probability 0.8 the accuracy should lie within the bar. " + (covered === null ? ""
      : `It does for ${(100 * covered).toFixed(0)} % of the ${whole(data.compared)} architectures of known accuracy ` +
        "that were not used in training.");
  const layout = layoutOf(
    { title: `predicted rank by ${method.name}`, range: [0.3, best.length + 0.7] },
    { title: "accuracy" },
    { ...trainedLine(data.bestTrained?.accuracy ?? null), showlegend: true },
  );
  return Plotly.react(byId("certainty-plot"), traces, layout, settings);
}

function drawMap() {
  const { at, label } = data.colourBar, scheme = dark.matches ? "dark" : "light";
  const format = isKnown ? formatAccuracy : formatScore, first = data.methods[0].name;
  const shown = isKnown ? "true accuracy" : literal(`score by ${first}`);
  const ranks = isKnown ? data.trueRank : data.methods[0].rank, count = isKnown ? data.known : data.archs;
  const coloured = everyone.filter((index) => ranks[index] !== null);
  const grey = everyone.filter((index) => ranks[index] === null);
  const colourscale = scales[scheme].map((shade, i, all) => [i / (all.length - 1), shade]);
  const marker = {
    size: dotSize + 0.6, opacity: 0.9, colorscale: colourscale, cmin: 0, cmax: 1,
    color: coloured.map((index) => 1 - (ranks[index] - 1) / Math.max(count - 1, 1)),
    colorbar: {
      title: { text: shown, side: "right", font: { size: 13, color: colour("ink") } },
      thickness: 10, outlinewidth: 0, len: 0.7, xpad: 14,
      tickvals: at, ticktext: label.map(format), tickfont: { size: 12 }, ticks: "",
    },
  };
  const { x, y, explained } = data.map, best = data.methods[0].best.slice(0, SHOWN);
  const title = (i) => `component ${i + 1} (${(100 * explained[i]).toFixed(0)} % of the variance)`;
  const traces = [{ ...points("accuracy known", coloured, x, y, marker), showlegend: false }];
  const pale = { size: dotSize, color: colour("muted"), opacity: 0.35 };
  if (grey.length) traces.unshift(points(isKnown ? "accuracy unknown" : "no score", grey, x, y, pale));
  traces.push(points(`best ${best.length} by ${first}`, best, x, y, rings(dotSize + 6, "best")));
  return Plotly.react(byId("map-plot"), traces, layoutOf({ title: title(0) }, { title: title(1) }), settings);
}

const curveNames = [...new Set(data.curves.flatMap((plot) => Object.keys(plot.curves)))];

function drawCurves(plot, { title, over, curves }) {
  const palette = lines[dark.matches ? "dark" : "light"];
  const traces = Object.entries(curves).map(([name, values]) => {
    const number = curveNames.indexOf(name), dash = number < palette.length ? "solid" : "dash";
    return {
      type: "scatter", mode: values.length > 10 ? "lines" : "lines+markers", name: literal(name),
      x: values.map((_, epoch) => epoch + 1), y: values, hovertemplate: "%{y:.4g}",
      line: { width: 2, color: palette[number % palette.length], dash, shape: over === "epoch" ? "linear" : "hv" },
    };
  });
  // Losses fall by orders of magnitude.
  const isLoss = /loss/i.test(title) && Object.values(curves).flat().every((value) => value === null || value > 0);
  const scale = isLoss ? { type: "log", dtick: "D2", minor: { showgrid: false } } : {};
  const layout = layoutOf({ title: over }, { title: isLoss ? "logarithmic" : "", ...scale }, {
    hovermode: "x unified", showlegend: true,
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("faint"), font: { color: colour("ink") } },
  });
  return Plotly.react(plot, traces, layout, settings);
}

"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const everyone = Array.from(data.strings.keys());
const whole = (number) => number.toLocaleString("en-US");
const usedInTraining = new Set(data.usedInTraining);
const isKnown = data.accuracy !== null;
const accuracyDigits = isKnown && Math.max(...data.accuracy.map((value) => value ?? 0)) <= 1 ? 4 : 2;
const formatAccuracy = (value) => (value === null ? "unknown" : value.toFixed(accuracyDigits));
const formatScore = (value) => (value === null ? "none" : String(Number(value.toPrecision(4))));

/** An element with a class and children; text is never parsed as markup. */
function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------------------------------------------------------
// Drawing a cell: layers from left to right by generation, operations as boxes.

const nodeStart = [0];
for (const shape of data.graphs.shape) nodeStart.push(nodeStart.at(-1) + data.graphs.shapes[shape].nodes);
const NODE_HEIGHT = 26, TRACK_HEIGHT = 4, ROW_GAP = 10, COLUMN_GAP = 30, PADDING = 2;
const ruler = document.createElement("canvas").getContext("2d");

/** Architecture `index` as an SVG element. */
function drawCell(index) {
  const { nodes, edges } = data.graphs.shapes[data.graphs.shape[index]];
  const names = data.graphs.operations.slice(nodeStart[index], nodeStart[index + 1])
    .map((operation) => data.graphs.vocabulary[operation]);
  const labels = names.map((name) => (name.length > 24 ? name.slice(0, 23) + "…" : name));
  ruler.font = getComputedStyle(document.body).font.replace(/^.*?\d+px(\/\S+)?/, "500 12px");
  const { column, y, links, tracks, layers, height } = layOut(nodes, edges);

  // All boxes of a column are as wide as its widest label.
  const widths = layers.map((layer) =>
    Math.max(...layer.filter((v) => v < nodes).map((v) => Math.ceil(ruler.measureText(labels[v]).width) + 20)));
  const left = [PADDING];
  for (const width of widths) left.push(left.at(-1) + width + COLUMN_GAP);
  const width = left.at(-1) - COLUMN_GAP + PADDING;

  const svg = vector("svg", { class: "cell", viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const arrows = edges.map((edge) => edge.join("→")).join(", ");
  svg.setAttribute("aria-label", `Graph of ${names.join(", ")}; edges ${arrows}`);
  svg.style.setProperty("--natural", `${width}px`);
  for (const v of tracks) {
    svg.append(vector("path", { class: "edge", d: `M${left[column[v]]},${y[v]}h${widths[column[v]]}` }));
  }
  for (const [from, to] of links) {
    const x0 = left[column[from]] + widths[column[from]], x1 = left[column[to]], end = to < nodes ? x1 - 5 : x1;
    const [y0, y1, middle] = [y[from], y[to], (x0 + x1) / 2];
    svg.append(vector("path", { class: "edge", d: `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${end},${y1}` }));
    if (to < nodes) svg.append(vector("path", { class: "head", d: `M${x1 - 1},${y1}l-6,-3v6z` }));
  }
  for (let v = 0; v < nodes; v++) {
    const node = vector("g", { class: `node ${kindOf(names[v])}` });
    node.style.setProperty("--hue", hueOf(names[v]));
    const [x, w] = [left[column[v]], widths[column[v]]];
    const text = vector("text", { x: x + w / 2, y: y[v] + 0.5 });
    text.textContent = labels[v];
    node.append(vector("rect", { x, y: y[v] - NODE_HEIGHT / 2, width: w, height: NODE_HEIGHT, rx: 6 }), text);
    svg.append(node);
  }
  return svg;
}

function vector(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function kindOf(name) {
  if (/^(input|output)/.test(name)) return "end";
  return /^(none|zero|zeroize)$/.test(name) ? "none" : "";
}

/** A hue in degrees for an operation: the operations that need one divide the circle equally. */
function hueOf(name) {
  const coloured = data.graphs.vocabulary.filter((other) => kindOf(other) === "");
  return Math.round((255 + (360 * coloured.indexOf(name)) / Math.max(coloured.length, 1)) % 360);
}

/**
 * Positions of the nodes of a DAG, after Sugiyama, Tagawa and Toda (1981): one layer per generation, an order within
 * each layer that avoids crossings, heights that keep edges short. An edge that skips layers runs along a "track": a
 * vertex without a box in each layer that it passes. The edges of one node share a track.
 */
function layOut(nodes, edges) {
  const predecessors = Array.from({ length: nodes }, () => []), successors = Array.from({ length: nodes }, () => []);
  for (const [from, to] of edges) { predecessors[to].push(from); successors[from].push(to); }
  const column = Array(nodes);
  const generation = (v) => (column[v] ??= Math.max(-1, ...predecessors[v].map(generation)) + 1);
  for (let v = 0; v < nodes; v++) generation(v);

  const links = [], tracks = [];
  for (let v = 0; v < nodes; v++) {
    const last = Math.max(...successors[v].map((to) => column[to]));
    for (let at = v, next = column[v] + 1; next <= last; next++) {
      for (const to of successors[v]) if (column[to] === next) links.push([at, to]);
      if (next < last) {
        const track = column.push(next) - 1;
        tracks.push(track);
        links.push([at, track]);
        at = track;
      }
    }
  }
  const before = column.map(() => []), after = column.map(() => []);
  for (const [from, to] of links) { before[to].push(from); after[from].push(to); }
  const layers = Array.from({ length: Math.max(...column) + 1 }, () => []);
  column.forEach((layer, v) => layers[layer].push(v));

  // Order each layer by the mean place of its neighbours, in both directions; keep the order with the fewest crossings.
  const place = Array(column.length);
  const number = () => layers.forEach((layer) => layer.forEach((v, i) => { place[v] = i - (layer.length - 1) / 2; }));
  number();
  let fewest = crossings(links, column, place), kept = layers.map((layer) => [...layer]);
  for (let sweep = 0; sweep < 12 && fewest > 0; sweep++) {
    const forth = sweep % 2 === 0, neighbours = forth ? before : after;
    for (const layer of forth ? layers : layers.toReversed()) {
      const wish = new Map(layer.map((v) => [v, mean(neighbours[v].map((other) => place[other]), place[v])]));
      layer.sort((a, b) => wish.get(a) - wish.get(b));
      layer.forEach((v, i) => { place[v] = i - (layer.length - 1) / 2; });
    }
    const found = crossings(links, column, place);
    if (found < fewest) { fewest = found; kept = layers.map((layer) => [...layer]); }
  }

  // Heights: pull each vertex to its neighbours, without overlap and without changing the order.
  const size = column.map((_, v) => (v < nodes ? NODE_HEIGHT : TRACK_HEIGHT));
  const y = Array(column.length).fill(0);
  for (const layer of kept) spread(layer, y, size);
  for (let sweep = 0; sweep < 24; sweep++) {
    for (const layer of sweep % 2 === 0 ? kept : kept.toReversed()) {
      for (const v of layer) y[v] = mean([...before[v], ...after[v]].map((other) => y[other]), y[v]);
      spread(layer, y, size);
    }
  }
  const top = Math.min(...y.map((value, v) => value - size[v] / 2)) - PADDING;
  const bottom = Math.max(...y.map((value, v) => value + size[v] / 2)) + PADDING;
  const fromTop = y.map((value) => Math.round(10 * (value - top)) / 10);
  return { column, links, tracks, layers: kept, y: fromTop, height: Math.ceil(bottom - top) };
}

function mean(values, otherwise) {
  return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : otherwise;
}

function crossings(links, column, place) {
  const byColumn = new Map();
  for (const link of links) byColumn.set(column[link[0]], [...(byColumn.get(column[link[0]]) ?? []), link]);
  let count = 0;
  for (const group of byColumn.values()) {
    for (let i = 0; i < group.length; i++) {
      for (let j = 0; j < i; j++) {
        count += (place[group[i][0]] - place[group[j][0]]) * (place[group[i][1]] - place[group[j][1]]) < 0;
      }
    }
  }
  return count;
}

/** The heights closest to the desired ones (least squares) without overlap of neighbours: isotonic regression. */
function spread(layer, y, size) {
  let offset = 0;
  const offsets = layer.map((v, i) => (i ? (offset += (size[layer[i - 1]] + size[v]) / 2 + ROW_GAP) : 0));
  const blocks = [];
  layer.forEach((v, i) => {
    blocks.push({ sum: y[v] - offsets[i], count: 1 });
    while (blocks.length > 1 && blocks.at(-2).sum / blocks.at(-2).count > blocks.at(-1).sum / blocks.at(-1).count) {
      const last = blocks.pop();
      blocks.at(-1).sum += last.sum;
      blocks.at(-1).count += last.count;
    }
  });
  let i = 0;
  for (const { sum, count } of blocks) for (let k = 0; k < count; k++, i++) y[layer[i]] = sum / count + offsets[i];
}

// ---------------------------------------------------------------------------------------------------------------
// Facts about an architecture, and the card that shows them beside a plot.

function measures(index, method, withScore) {
  const facts = [["predicted rank", method.rank[index] === null ? "none" : whole(method.rank[index])]];
  if (isKnown) facts.push(["true rank", data.trueRank[index] === null ? "unknown" : whole(data.trueRank[index])]);
  if (isKnown) facts.push(["accuracy", formatAccuracy(data.accuracy[index])]);
  if (usedInTraining.has(index)) facts.push(["used in", "training"]);
  if (withScore) facts.push(["score", formatScore(method.score[index])]);
  const list = element("dl", "measures");
  for (const [term, value] of facts) list.append(element("div", "", element("dt", "", term), element("dd", "", value)));
  return list;
}

/** The native string, with line breaks allowed after separators. */
function notation(index) {
  const parts = data.strings[index].split(/(?<=[|,;)])/).flatMap((part) => [part, element("wbr")]);
  return element("code", "", ...parts);
}

let keptCard = false;

function showCard(plot, point, method) {
  const index = point.customdata, box = plot.getBoundingClientRect(), card = byId("card"), ring = byId("ring");
  // Plotly's boxes of points are relative to the offset parent, not to the plot.
  const x = box.left - plot.offsetLeft + (point.bbox.x0 + point.bbox.x1) / 2;
  const y = box.top - plot.offsetTop + (point.bbox.y0 + point.bbox.y1) / 2;
  card.replaceChildren(drawCell(index), measures(index, method, true), notation(index));
  card.hidden = ring.hidden = false;
  ring.style.left = `${x}px`;
  ring.style.top = `${y}px`;
  const { width, height } = card.getBoundingClientRect(), away = 18, margin = 12;
  const right = x + away + width + margin < innerWidth, besides = right || x - away - width > margin;
  const cardX = right ? x + away : besides ? x - away - width : (innerWidth - width) / 2;
  // If there is no room on either side, above or below.
  const cardY = besides ? y - height / 2 : y - away - height > margin ? y - away - height : y + away;
  card.style.left = `${Math.max(margin, Math.min(cardX, innerWidth - width - margin))}px`;
  card.style.top = `${Math.max(margin, Math.min(cardY, innerHeight - height - margin))}px`;
}

function hideCard() {
  keptCard = false;
  byId("card").classList.remove("kept");
  byId("card").hidden = byId("ring").hidden = true;
}

function attachCard(plot, method) {
  plot.on("plotly_hover", (event) => { if (!keptCard) showCard(plot, event.points[0], method()); });
  plot.on("plotly_unhover", () => { if (!keptCard) hideCard(); });
  plot.on("plotly_relayouting", hideCard);
  plot.on("plotly_click", (event) => {
    showCard(plot, event.points[0], method());
    byId("card").classList.add("kept");
    // Only after the click, which would otherwise close the card again.
    keptCard = false;
    setTimeout(() => { keptCard = true; });
  });
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideCard(); });
document.addEventListener("click", (event) => { if (keptCard && !byId("card").contains(event.target)) hideCard(); });
document.addEventListener("scroll", hideCard, { passive: true });

// ---------------------------------------------------------------------------------------------------------------
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
const chosen = { method: data.methods[0], scale: "ranks" };

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
  const layout = layoutOf(
    byRank ? ranks(`predicted rank by ${method.name}, best at the right`) : { title: `score by ${method.name}` },
    byRank ? ranks("true rank, best at the top") : { title: "true accuracy" },
    { shapes: byRank ? [corner] : [], showlegend: used.length > 0 },
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
  const { x, y, explained } = data.map;
  const title = (i) => `component ${i + 1} (${(100 * explained[i]).toFixed(0)} % of the variance)`;
  const traces = [{ ...points("accuracy known", coloured, x, y, marker), showlegend: false }];
  const pale = { size: dotSize, color: colour("muted"), opacity: 0.35 };
  if (grey.length) traces.unshift(points(isKnown ? "accuracy unknown" : "no score", grey, x, y, pale));
  traces.push(points(`best ${data.best.length} by ${first}`, data.best, x, y, rings(dotSize + 6, "best")));
  return Plotly.react(byId("map-plot"), traces, layoutOf({ title: title(0) }, { title: title(1) }), settings);
}

const curveNames = [...new Set(data.curves.flatMap((plot) => Object.keys(plot.curves)))];

function drawCurves(plot, { over, curves }) {
  const palette = lines[dark.matches ? "dark" : "light"];
  const traces = Object.entries(curves).map(([name, values]) => {
    const number = curveNames.indexOf(name), dash = number < palette.length ? "solid" : "dash";
    return {
      type: "scatter", mode: values.length > 10 ? "lines" : "lines+markers", name: literal(name),
      x: values.map((_, epoch) => epoch + 1), y: values, hovertemplate: "%{y:.4g}",
      line: { width: 2, color: palette[number % palette.length], dash },
    };
  });
  const layout = layoutOf({ title: over }, { title: "" }, {
    hovermode: "x unified", showlegend: true,
    hoverlabel: { bgcolor: colour("panel"), bordercolor: colour("faint"), font: { color: colour("ink") } },
  });
  return Plotly.react(plot, traces, layout, settings);
}

// ---------------------------------------------------------------------------------------------------------------
// Tables and texts

function resultTable() {
  const columns = [...new Set(data.rows.flatMap((row) => Object.keys(row)))];
  const head = element("tr"), body = element("tbody"), table = element("table", "", element("thead", "", head), body);
  table.setAttribute("aria-labelledby", "results-heading");
  const described = columns.map((name) => {
    const values = data.rows.map((row) => row[name] ?? null);
    const numbers = values.filter((value) => typeof value === "number");
    const isText = values.some((value) => value !== null && typeof value !== "number");
    const largest = Math.max(...numbers.map(Math.abs));
    const digits = numbers.every(Number.isInteger) ? 0 : largest >= 1000 ? 0 : largest >= 10 ? 1 : 3;
    // Only for ranking measures is higher known to be better.
    const isMeasure = /^(τ|P@|ρ|Kendall|Precision)/.test(name) && numbers.length > 1;
    const top = isMeasure ? Math.max(...numbers).toFixed(digits) : null;
    return { name, isText, digits, top };
  });
  described.forEach(({ name, isText }) => {
    const cell = element("th", isText ? "text" : "", name);
    cell.scope = "col";
    head.append(cell);
  });
  for (const row of data.rows) {
    const line = element("tr");
    described.forEach(({ name, isText, digits, top }, i) => {
      const value = row[name] ?? null;
      const text = value === null ? "–" : typeof value !== "number" ? String(value)
        : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
      const cell = element(i ? "td" : "th", isText ? "text" : "", text);
      if (!i) cell.scope = "row";
      if (top !== null && typeof value === "number" && value.toFixed(digits) === top) cell.classList.add("top");
      line.append(cell);
    });
    body.append(line);
  }
  return table;
}

/** A table for each group of settings; settings in nested groups are named by their path. */
function settingTables() {
  const isGroup = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  const words = new Map([[null, "–"], [true, "yes"], [false, "no"]]);
  const say = (value) => {
    if (Array.isArray(value)) return value.map(say).join(", ");
    return isGroup(value) ? JSON.stringify(value) : words.get(value) ?? String(value);
  };
  const flatten = (group, path) => Object.entries(group).flatMap(([name, value]) =>
    (isGroup(value) ? flatten(value, `${path}${name}.`) : [[path + name, say(value)]]));
  const entries = Object.entries(data.settings), single = entries.filter(([, value]) => !isGroup(value));
  const groups = [["general", Object.fromEntries(single)], ...entries.filter(([, value]) => isGroup(value))];
  return groups.filter(([, group]) => Object.keys(group).length).map(([name, group]) => {
    const table = element("table", "", element("caption", "", name)), body = element("tbody");
    for (const [setting, value] of flatten(group, "")) {
      const head = element("th", "", setting);
      head.scope = "row";
      body.append(element("tr", "", head, element("td", "", value)));
    }
    table.append(body);
    return table;
  });
}

function bestCells() {
  return data.best.map((index) => {
    const drawing = element("div", "drawing", drawCell(index));
    return element("li", "", measures(index, data.methods[0], false), drawing, notation(index));
  });
}

/** Radio buttons in the fieldset `id` that set `chosen[id]` and redraw the plot of predictions. */
function addChoice(id, options) {
  const box = element("div");
  for (const [label, value] of options) {
    const input = element("input");
    Object.assign(input, { type: "radio", name: id, checked: value === chosen[id] });
    input.addEventListener("change", () => {
      chosen[id] = value;
      drawPrediction();
    });
    box.append(element("label", "", input, label));
  }
  byId(id).append(box);
}

function write() {
  const first = data.methods[0].name;
  const facts = [`${whole(data.archs)} architectures`, `${data.graphs.vocabulary.length} operations`];
  const ofHowMany = data.known === data.archs ? "all" : isKnown ? whole(data.known) : "none";
  facts.push(`true accuracy known of ${ofHowMany}`);
  byId("facts").textContent = facts.join(" · ");
  if (data.rows.length) byId("results-table").append(resultTable());
  else byId("results").remove();

  if (isKnown) {
    addChoice("method", data.methods.map((method) => [method.name, method]));
    byId("method").hidden = data.methods.length < 2;
    addChoice("scale", [["ranks", "ranks"], ["best 10 %", "best"], ["values", "values"]]);
  } else {
    const note = element("p", "lead", "No true accuracy is known, so there is nothing to compare the prediction with.");
    byId("prediction").querySelector(".figure").replaceWith(note);
  }
  byId("map-note").textContent = "Each architecture's flow surrogate, standardised, on its two principal components. " +
    (isKnown ? "Colours follow the rank of the true accuracy, since accuracies themselves crowd near the top"
      : `Colours follow the rank by ${first}`) +
    "; the bar names the value at the extremes and at 10, 25, 50, 75 and 90 % of the architectures." + drawnNote;
  if (data.curves.length) {
    for (const { title } of data.curves) {
      const plot = element("div", "plot");
      plot.setAttribute("role", "img");
      plot.setAttribute("aria-label", `${title} by epoch`);
      byId("curve-plots").append(element("div", "", element("h3", "", title), plot));
    }
  } else {
    byId("curves").remove();
  }
  byId("best-note").textContent =
    `The ${data.best.length} architectures that ${first} scores highest, drawn from input to output.`;
  byId("best-cells").append(...bestCells());
  // Large drawings get the full width.
  const cells = [...document.querySelectorAll("#best-cells .cell")];
  byId("best-cells").classList.toggle("large", cells.some((svg) => svg.getAttribute("width") > 720));
  const tables = settingTables();
  if (tables.length) byId("settings-table").append(...tables);
  else byId("settings").remove();
  for (const section of document.querySelectorAll("main > section")) {
    const link = element("a", "", section.querySelector("h2").textContent);
    link.href = `#${section.id}`;
    byId("contents").append(element("li", "", link));
  }
}

/** Draw the plots one after another, so that the page can be read and scrolled in the meantime. */
async function drawPlots() {
  const pause = () => new Promise((resolve) => setTimeout(resolve));
  const curvePlots = [...document.querySelectorAll("#curve-plots .plot")];
  const drawings = curvePlots.map((plot, i) => () => drawCurves(plot, data.curves[i]));
  for (const draw of [...(isKnown ? [drawPrediction] : []), drawMap, ...drawings]) {
    await pause();
    await draw();
  }
}

write();
// Plotly's script comes after this one, so that the page shows its tables and cells while Plotly loads.
addEventListener("DOMContentLoaded", async () => {
  await drawPlots();
  if (isKnown) attachCard(byId("prediction-plot"), () => chosen.method);
  attachCard(byId("map-plot"), () => data.methods[0]);
  dark.addEventListener("change", drawPlots);
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
});

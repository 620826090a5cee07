// Drawing an architecture: layers by generation, operations as boxes, from left to right or from top to bottom.

const nodeStart = [0];
for (const shape of data.graphs.shape) nodeStart.push(nodeStart.at(-1) + data.graphs.shapes[shape].nodes);
const NODE_HEIGHT = 26, TRACK = 4, GAP = 10, LAYER_GAP = 30, PADDING = 2;
const ruler = document.createElement("canvas").getContext("2d");

/** Architecture `index` as an SVG element, from top to bottom where that fits better into `room` pixels of width. */
function drawCell(index, room = Infinity) {
  const across = drawing(index, false), width = (svg) => Number(svg.getAttribute("width"));
  if (width(across) <= room) return across;
  const down = drawing(index, true);
  return width(down) < width(across) ? down : across;
}

function drawing(index, down) {
  const { nodes, edges } = data.graphs.shapes[data.graphs.shape[index]];
  const names = data.graphs.operations.slice(nodeStart[index], nodeStart[index + 1])
    .map((operation) => data.graphs.vocabulary[operation]);
  const labels = names.map((name) => (name.length > 24 ? name.slice(0, 23) + "…" : name));
  ruler.font = getComputedStyle(document.body).font.replace(/^.*?\d+px(\/\S+)?/, "500 12px");
  const widths = labels.map((label) => Math.ceil(ruler.measureText(label).width) + 20);
  const size = (v) => (down ? widths[v] : NODE_HEIGHT);
  const { column, across, links, tracks, layers, breadth } = layOut(nodes, edges, size);

  // From left to right, all boxes of a layer are as wide as its widest label.
  const depth = layers.map((layer) =>
    (down ? NODE_HEIGHT : Math.max(...layer.filter((v) => v < nodes).map((v) => widths[v]))));
  const start = [PADDING];
  for (const each of depth) start.push(start.at(-1) + each + LAYER_GAP);
  const length = start.at(-1) - LAYER_GAP + PADDING;
  const [width, height] = down ? [breadth, length] : [length, breadth];
  const at = (along, beside) => (down ? `${beside},${along}` : `${along},${beside}`);

  const svg = vector("svg", { class: "cell", viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const arrows = edges.map((edge) => edge.join("→")).join(", ");
  svg.setAttribute("aria-label", `Graph of ${names.join(", ")}; edges ${arrows}`);
  svg.style.setProperty("--natural", `${width}px`);
  for (const v of tracks) {
    const from = start[column[v]], to = from + depth[column[v]];
    svg.append(vector("path", { class: "edge", d: `M${at(from, across[v])}L${at(to, across[v])}` }));
  }
  for (const [from, to] of links) {
    const a0 = start[column[from]] + depth[column[from]], a1 = start[column[to]], end = to < nodes ? a1 - 5 : a1;
    const [b0, b1, middle] = [across[from], across[to], (a0 + a1) / 2];
    const curve = `M${at(a0, b0)}C${at(middle, b0)} ${at(middle, b1)} ${at(end, b1)}`;
    svg.append(vector("path", { class: "edge", d: curve }));
    const head = `M${at(a1 - 1, b1)}L${at(a1 - 7, b1 - 3)}L${at(a1 - 7, b1 + 3)}z`;
    if (to < nodes) svg.append(vector("path", { class: "head", d: head }));
  }
  for (let v = 0; v < nodes; v++) {
    const node = vector("g", { class: `node ${kindOf(names[v])}` });
    node.style.setProperty("--hue", hueOf(names[v]));
    const w = down ? widths[v] : depth[column[v]];
    const x = down ? across[v] - w / 2 : start[column[v]], y = down ? start[column[v]] : across[v] - NODE_HEIGHT / 2;
    const text = vector("text", { x: x + w / 2, y: y + NODE_HEIGHT / 2 + 0.5 });
    text.textContent = labels[v];
    node.append(vector("rect", { x, y, width: w, height: NODE_HEIGHT, rx: 6 }), text);
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
 * each layer that avoids crossings, places within it that keep edges short. An edge that skips layers runs along a
 * "track": a vertex without a box in each layer that it passes. The edges of one node share a track. Node v takes
 * `sizeOf(v)` of its layer.
 */
function layOut(nodes, edges, sizeOf) {
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

  // Places across: pull each vertex to its neighbours, without overlap and without changing the order.
  const size = column.map((_, v) => (v < nodes ? sizeOf(v) : TRACK));
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
  return { column, links, tracks, layers: kept, across: fromTop, breadth: Math.ceil(bottom - top) };
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

/** The places closest to the desired ones (least squares) without overlap of neighbours: isotonic regression. */
function spread(layer, y, size) {
  let offset = 0;
  const offsets = layer.map((v, i) => (i ? (offset += (size[layer[i - 1]] + size[v]) / 2 + GAP) : 0));
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

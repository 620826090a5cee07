// Tables: results, settings, and all architectures, to search, sort and take along.

const isMeasure = (name) => /^(τ|P@|ρ|Kendall|Precision)/.test(name);
const valueOf = (value) => (Array.isArray(value) ? value[0] : value ?? null);

/** A cell of a table that narrow screens show as blocks of "heading value" lines. */
function cell(tag, heading, className, ...children) {
  const made = element(tag, className, element("span", "", ...children));
  made.dataset.heading = heading;
  return made;
}

function resultTable() {
  const everyRow = [...data.rows, ...data.apart];
  const columns = [...new Set(everyRow.flatMap((row) => Object.keys(row)))].map((name) => {
    const values = everyRow.map((row) => valueOf(row[name]));
    const numbers = values.filter((value) => typeof value === "number");
    const isText = values.some((value) => value !== null && typeof value !== "number");
    const largest = Math.max(...numbers.map(Math.abs));
    const isCount = numbers.every(Number.isInteger) && !isMeasure(name);
    const digits = isCount || largest >= 1000 ? 0 : largest >= 10 ? 1 : 3;
    // Only for ranking measures is higher known to be better.
    const top = isMeasure(name) && numbers.length > 1 ? Math.max(...numbers).toFixed(digits) : null;
    return { name, isText, digits, top };
  });
  const line = (row, isCompared) => element("tr", "", ...columns.map(({ name, isText, digits, top }, i) => {
    const value = valueOf(row[name]);
    const say = (number) =>
      number.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    const text = value === null ? "–" : typeof value !== "number" ? String(value) : say(value);
    const made = cell(i ? "td" : "th", name, isText ? "text" : "", text);
    const spread = Array.isArray(row[name]) ? row[name][1] : null;
    if (spread !== null) made.firstChild.append(element("small", "", ` ± ${say(spread)}`));
    if (!i) made.scope = "row";
    if (value === null) made.classList.add("empty");
    if (isCompared && top !== null && typeof value === "number" && value.toFixed(digits) === top) made.classList.add("top");
    return made;
  }));
  const head = element("tr", "", ...columns.map(({ name, isText }) => {
    const made = element("th", isText ? "text" : "", name);
    made.scope = "col";
    return made;
  }));
  const apart = [...data.apart, ...references(columns.map(({ name }) => name))];
  const body = element("tbody", "", ...data.rows.map((row) => line(row, true)));
  const table = element("table", "stack", element("thead", "", head), body);
  if (apart.length) table.append(element("tfoot", "", ...apart.map((row) => line(row, false))));
  table.setAttribute("aria-labelledby", "results-heading");
  return table;
}

/** What a random order, and the true one, would reach among the architectures that are compared. */
function references(columns) {
  if (!columns.some(isMeasure) || isMeasure(columns[0]) || !data.compared) return [];
  const rows = [{ [columns[0]]: "random order" }, { [columns[0]]: "true order" }];
  for (const name of columns.filter(isMeasure)) {
    const percent = /([\d.]+) ?%/.exec(name)?.[1], n = data.compared;
    rows[0][name] = percent ? Math.max(1, Math.round((n * percent) / 100)) / n : 0;
    rows[1][name] = 1;
  }
  return rows;
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

/** What is known of the architectures, a column each: its name, its values, and how the table shows one. */
function columnsOfAll() {
  const rank = (value) => (value === null ? "–" : whole(value)), one = data.methods.length === 1;
  const columns = [{ name: "architecture", values: data.strings, shown: String }];
  for (const { name, rank: ranks, score, intervals } of data.methods) {
    const by = one ? "" : ` by ${name}`;
    columns.push({ name: `predicted rank${by}`, values: ranks, shown: rank });
    columns.push({ name: `score${by}`, values: score, shown: one && formatScore });
    if (!intervals) continue;
    columns.push({ name: `low${by}`, values: intervals.low, shown: one && formatBound });
    columns.push({ name: `high${by}`, values: intervals.high, shown: one && formatBound });
  }
  if (isKnown) {
    columns.push({ name: "true rank", values: data.trueRank, shown: rank });
    columns.push({ name: "accuracy", values: data.accuracy, shown: formatAccuracy });
  }
  const used = everyone.map((index) => (usedInTraining.has(index) ? "yes" : ""));
  if (usedInTraining.size) columns.push({ name: "trained", values: used, shown: String });
  return columns;
}

/** All columns as CSV (RFC 4180). */
function csv(columns) {
  const field = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const lines = [columns.map(({ name }) => name), ...everyone.map((i) => columns.map(({ values }) => values[i] ?? ""))];
  return lines.map((line) => line.map((value) => field(String(value))).join(",") + "\r\n").join("");
}

function showAll() {
  const STEP = 20, columns = columnsOfAll(), shown = columns.filter((column) => column.shown);
  const body = element("tbody"), search = byId("all-search"), more = byId("all-more"), state = { count: STEP };
  const order = { by: shown[1], up: true };

  function found() {
    const words = search.value.toLowerCase().split(/\s+/);
    const rows = everyone.filter((i) => words.every((word) => data.strings[i].toLowerCase().includes(word)));
    const { values } = order.by, sign = order.up ? 1 : -1, empty = (value) => value === null || value === "";
    // What is unknown comes last in either direction.
    return rows.sort((a, b) => empty(values[a]) - empty(values[b])
      || (values[a] === values[b] ? 0 : sign * (values[a] < values[b] ? -1 : 1)) || a - b);
  }
  function line(index) {
    const details = element("details", "", element("summary", "", notation(index)));
    details.addEventListener("toggle", () => {
      if (details.open && !details.querySelector("svg")) details.append(drawCell(index, details.clientWidth));
    });
    const cells = shown.slice(1).map(({ name, values, shown }) =>
      cell("td", name, values[index] === "" ? "empty" : "", shown(values[index])));
    return element("tr", usedInTraining.has(index) ? "used" : "", cell("td", "architecture", "text", details), ...cells);
  }
  function draw() {
    const rows = found();
    body.replaceChildren(...rows.slice(0, state.count).map(line));
    byId("all-count").textContent = `${whole(Math.min(state.count, rows.length))} of ${whole(rows.length)} shown`;
    more.hidden = rows.length <= state.count;
    for (const { head, column } of heads) {
      head.ariaSort = column === order.by ? (order.up ? "ascending" : "descending") : "none";
    }
  }
  const heads = shown.map((column, i) => {
    const button = element("button", "", column.name), head = element("th", i ? "" : "text", button);
    button.type = "button";
    head.scope = "col";
    button.addEventListener("click", () => {
      // Ranks begin with the best; so do scores and accuracies.
      const up = /rank|architecture/.test(column.name);
      Object.assign(order, { by: column, up: order.by === column ? !order.up : up });
      state.count = STEP;
      draw();
    });
    return { head, column };
  });
  search.addEventListener("input", () => { state.count = STEP; draw(); });
  more.addEventListener("click", () => { state.count += 5 * STEP; draw(); });
  const head = element("thead", "", element("tr", "", ...heads.map((each) => each.head)));
  byId("all-table").append(element("table", "stack", head, body));

  const link = byId("all-csv"), name = document.title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "");
  link.download = `${name || "report"}.csv`;
  link.href = URL.createObjectURL(new Blob([csv(columns)], { type: "text/csv" }));
  if (data.strings.length < data.archs) link.after(element("span", "", `the ${whole(data.strings.length)} drawn`));
  draw();
}

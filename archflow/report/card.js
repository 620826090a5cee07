// Facts about an architecture, and the card that shows them beside a plot.

const everyone = Array.from(data.strings.keys());
const whole = (number) => number.toLocaleString("en-US");
const usedInTraining = new Set(data.usedInTraining);
const isKnown = data.accuracy !== null;
const accuracyDigits = isKnown && Math.max(...data.accuracy.map((value) => value ?? 0)) <= 1 ? 4 : 2;
const formatAccuracy = (value) => (value === null ? "unknown" : value.toFixed(accuracyDigits));
const formatBound = (value) => (isKnown ? formatAccuracy(value) : formatScore(value));
const formatScore = (value) => (value === null ? "none" : String(Number(value.toPrecision(4))));

/** An element with a class and children; text is never parsed as markup. */
function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function measures(index, method, withScore) {
  const facts = [["predicted rank", method.rank[index] === null ? "none" : whole(method.rank[index])]];
  if (isKnown) facts.push(["true rank", data.trueRank[index] === null ? "unknown" : whole(data.trueRank[index])]);
  if (isKnown) facts.push(["accuracy", formatAccuracy(data.accuracy[index])]);
  if (withScore) facts.push(["score", formatScore(method.score[index])]);
  if (method.intervals) {
    const bounds = [method.intervals.low[index], method.intervals.high[index]];
    facts.push(["80 % interval", bounds.map(formatBound).join(" – ")]);
  }
  const list = element("dl", "measures");
  for (const [term, value] of facts) list.append(element("div", "", element("dt", "", term), element("dd", "", value)));
  if (usedInTraining.has(index)) list.append(element("div", "trained", element("dt", "", "used in training")));
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
  ring.style.left = `${box.left - plot.offsetLeft + (point.bbox.x0 + point.bbox.x1) / 2}px`;
  ring.style.top = `${box.top - plot.offsetTop + (point.bbox.y0 + point.bbox.y1) / 2}px`;
  const notes = plot.nextElementSibling.getBoundingClientRect(), beside = notes.left >= box.right, margin = 12;
  const width = beside ? Math.min(notes.width + 24, innerWidth - notes.left - 4) : innerWidth - 2 * margin;
  card.style.width = `${width}px`;
  // Below a plot that takes the whole width, the flattest drawing is the best.
  card.replaceChildren(drawCell(index, beside ? width - 30 : Infinity), measures(index, method, true), notation(index));
  card.hidden = ring.hidden = false;
  const { height } = card.getBoundingClientRect(), below = innerHeight - box.bottom >= box.top;
  const top = beside ? box.bottom - height : below ? box.bottom + margin : box.top - height - margin;
  card.style.left = `${beside ? notes.left - 8 : margin}px`;
  card.style.top = `${Math.max(margin, Math.min(top, innerHeight - height - margin))}px`;
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

// The page: texts, choices, and the order in which everything is drawn.

const curvePlots = [];

/** Draw the ten best of the chosen method anew. */
function drawBest() {
  const list = byId("best-cells"), method = chosen.best, room = list.clientWidth;
  const items = method.best.slice(0, SHOWN).map((index) => {
    const drawing = element("div", "drawing", drawCell(index, Math.min(room - 42, 720)));
    const item = element("li", "", measures(index, method, false), drawing, notation(index));
    if (usedInTraining.has(index)) item.classList.add("used");
    return item;
  });
  list.replaceChildren(...items);
  const cells = [...list.querySelectorAll(".cell")];
  // Large drawings get the full width.
  list.classList.toggle("large", cells.some((svg) => svg.getAttribute("width") > 720));
  byId("best-note").textContent = `The ${items.length} architectures that ${method.name} scores highest, drawn from ` +
    "input to output." + (list.querySelector(".used") ? " Those used in training are marked." : "");
}

/** Radio buttons in the fieldset `id` that set `chosen[key]` and draw again. */
function addChoice(id, key, options, draw) {
  const box = element("div");
  for (const [label, value] of options) {
    const input = element("input");
    Object.assign(input, { type: "radio", name: id, checked: value === chosen[key] });
    input.addEventListener("change", () => {
      chosen[key] = value;
      draw();
    });
    box.append(element("label", "", input, label));
  }
  byId(id).append(box);
  byId(id).hidden = options.length < 2;
}

function write() {
  const first = data.methods[0].name, methods = data.methods.map((method) => [method.name, method]);
  const facts = [`${whole(data.archs)} architectures`, `${data.graphs.vocabulary.length} operations`];
  const ofHowMany = data.known === data.archs ? "all" : isKnown ? whole(data.known) : "none";
  facts.push(`true accuracy known of ${ofHowMany}`);
  if (usedInTraining.size) facts.push(`${whole(usedInTraining.size)} used in training`);
  byId("facts").textContent = facts.join(" · ");
  if (data.rows.length || data.apart.length) byId("results-table").append(resultTable());
  else byId("results").remove();
  byId("results-note")?.append(data.remark);

  if (isKnown) {
    addChoice("method", "method", methods, () => {
      drawPrediction();
      if (sureMethod()) drawCertainty();
    });
    addChoice("scale", "scale", [["ranks", "ranks"], ["best 10 %", "best"], ["values", "values"]], drawPrediction);
  } else {
    const note = element("p", "lead", "No true accuracy is known, so there is nothing to compare the prediction with.");
    byId("prediction").querySelector(".figure").replaceWith(note);
  }
  if (!sureMethod()) byId("certainty").remove();
  byId("map-note").textContent = "Each architecture's flow surrogate, standardised, on its two principal components. " +
    (isKnown ? "Colours follow the rank of the true accuracy, since accuracies themselves crowd near the top"
      : `Colours follow the rank by ${first}`) +
    "; the bar names the value at the extremes and at 10, 25, 50, 75 and 90 % of the architectures." + drawnNote;
  for (const curves of data.curves) {
    const { title, over } = curves, plot = element("div", "plot");
    curvePlots.push([plot, curves]);
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${title} by ${over}`);
    const section = byId(over === "epoch" ? "curves" : "search");
    section.querySelector(".curves").append(element("div", "", element("h3", "", title), plot));
  }
  for (const id of ["search", "curves"]) if (!byId(id).querySelector(".plot")) byId(id).remove();
  addChoice("best-method", "best", methods, drawBest);
  drawBest();
  showAll();
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
  const draws = [
    ...(isKnown ? [drawPrediction] : []), ...(sureMethod() ? [drawCertainty] : []), drawMap,
    ...curvePlots.map((each) => () => drawCurves(...each)),
  ];
  for (const draw of draws) {
    await pause();
    await draw();
  }
}

write();
// Plotly is unpacked only now, so that the page shows its tables and cells in the meantime.
await new Promise((resolve) => setTimeout(resolve));
const script = element("script");
script.textContent = await unpacked("plotly");
document.head.append(script);
await drawPlots();
if (isKnown) attachCard(byId("prediction-plot"), () => chosen.method);
if (sureMethod()) attachCard(byId("certainty-plot"), sureMethod);
attachCard(byId("map-plot"), () => data.methods[0]);
dark.addEventListener("change", drawPlots);
matchMedia("(max-width: 40rem)").addEventListener("change", drawBest);
document.documentElement.dataset.drawn = String(Math.round(performance.now()));

"use strict";
// The reader's choices. They are kept when the data are updated.
const state = {unit: document.body.dataset.unit, hidden: new Set(), query: "", sort: "number", up: true, page: 0};
const PER_PAGE = 50;
const DARK = JSON.parse(document.getElementById("dark").textContent);
const scheme = window.matchMedia("(prefers-color-scheme: dark)");
const $ = id => document.getElementById(id);
let figures, trials, shown;

// --- figures ---

function readFigures() {
  figures = JSON.parse($("figures").textContent, scheme.matches ? (key, value) => DARK[value] ?? value : undefined);
}

// Buttons that show and hide strategies and backbones; the latter only where there are several.
const filters = () => Array.from(document.querySelectorAll("button[data-filter]"));

function toggle(value) {
  if (!state.hidden.delete(value)) state.hidden.add(value);
  filtered();
}

function only(value) {
  const group = filters().find(button => button.dataset.filter === value).parentElement;
  const others = filters().filter(button => group.contains(button)).map(button => button.dataset.filter).filter(other => other !== value);
  const alone = others.every(other => state.hidden.has(other)) && !state.hidden.has(value);
  state.hidden.delete(value);
  for (const other of others) if (alone) state.hidden.delete(other); else state.hidden.add(other);
  filtered();
}

function filtered() {
  for (const button of filters()) button.setAttribute("aria-pressed", String(!state.hidden.has(button.dataset.filter)));
  state.page = 0;
  drawAll();
  showTrials();
}

// Leave out the points of hidden backbones: customdata has the backbone of each.
function dropHidden(trace) {
  const kept = trace.customdata.map(backbone => !state.hidden.has(backbone));
  for (const [owner, key] of [[trace, "x"], [trace, "y"], [trace, "hovertext"], [trace, "customdata"], [trace.marker, "symbol"]])
    if (owner[key] instanceof Array) owner[key] = owner[key].filter((_, i) => kept[i]);
}

function draw(id) {
  const plot = $(id), whose = plot.closest(".classes")?.dataset.whose, view = figures[id] && (figures[id][whose ?? state.unit] ?? figures[id].any);
  plot.hidden = !view;
  if (!view) return;
  // A copy each time: Plotly changes its arguments.
  const {data, layout} = structuredClone(view);
  for (const trace of data) {
    if (state.hidden.has(trace.legendgroup)) trace.visible = "legendonly";
    if (trace.customdata) dropHidden(trace);
  }
  layout.uirevision = whose ?? state.unit;  // zoom stays while data come in
  const first = !plot.data;
  Plotly.react(plot, data, layout, {responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"]});
  if (!first) return;
  const value = event => { const group = event.data[event.curveNumber].legendgroup; return filters().some(button => button.dataset.filter === group) && group; };
  plot.on("plotly_legendclick", event => { if (value(event)) { toggle(value(event)); return false; } });
  plot.on("plotly_legenddoubleclick", event => { if (value(event)) { only(value(event)); return false; } });
}

// One figure in each task, those in the window first: the page stays responsive while the rest are drawn.
let drawing = 0;
async function drawAll() {
  const mine = ++drawing;
  const near = plot => Math.abs(plot.getBoundingClientRect().top);
  const plots = Array.from(document.querySelectorAll(".plot")).sort((a, b) => near(a) - near(b));
  document.body.dataset.drawn = "false";
  for (const plot of plots) {
    await new Promise(resolve => setTimeout(resolve));
    if (mine !== drawing) return;
    draw(plot.id);
  }
  document.body.dataset.drawn = "true";
}

// Arrow keys walk through the points of a figure as the mouse would.
function walk(event) {
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key], plot = event.currentTarget;
  if (!step || !plot.data) return;
  event.preventDefault();
  const points = plot.data.flatMap((trace, curveNumber) => trace.hoverinfo !== "text" || trace.visible === "legendonly" ? []
    : (trace.hovertext instanceof Array ? trace.hovertext : [trace.hovertext]).flatMap((text, at) => text instanceof Array
      ? text.flatMap((cell, column) => cell ? [{curveNumber, pointNumber: [at, column], text: cell}] : [])
      : text ? [{curveNumber, pointNumber: at, text}] : []));
  if (!points.length) return;
  const at = (Number(plot.dataset.at ?? (step > 0 ? -1 : 0)) + step + points.length) % points.length;
  plot.dataset.at = at;
  const {curveNumber, pointNumber, text} = points[at];
  Plotly.Fx.hover(plot, [{curveNumber, pointNumber}], "x" + (plot.data[curveNumber].yaxis ?? "y"));
  $("spoken").textContent = new DOMParser().parseFromString(text.replaceAll("<br>", ". "), "text/html").body.textContent;
}

// Each study's section of classes shows one trial or baseline.
function showClasses(section, wanted) {
  const buttons = Array.from(section.querySelectorAll("button[data-whose]"));
  if (!buttons.length) return;
  section.dataset.whose = buttons.some(button => button.dataset.whose === wanted) ? wanted : buttons[0].dataset.whose;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.whose === section.dataset.whose));
  for (const details of section.querySelectorAll("details")) details.hidden = false;
}

document.addEventListener("click", event => {
  const button = event.target.closest("button[data-whose]");
  if (!button) return;
  const section = button.closest(".classes");
  showClasses(section, button.dataset.whose);
  for (const plot of section.querySelectorAll(".plot")) draw(plot.id);
});

// --- trials ---

const digits = value => {
  if (value === 0) return "0";
  const rounded = Math.abs(value) < 100 ? Number(value.toPrecision(3)) : value;
  if (Math.abs(rounded) >= 100) return Math.round(rounded).toLocaleString("en-US");
  if (Math.abs(rounded) < 1e-4) return rounded.toPrecision(2);
  return rounded.toFixed(2 - Math.floor(Math.log10(Math.abs(rounded))));
};
const FORMATS = {
  text: String, integer: String, accuracy: value => value.toFixed(4), number: digits, tflop: value => digits(value / 1e12),
  rate: value => String(Number(value.toPrecision(2))),
};

function readTrials() {
  const {columns, rows, best} = JSON.parse($("trials-data").textContent);
  // Text columns come as a list of words and an index into it: most of them repeat a few words.
  const values = columns.map(({name}) => rows[name].words ? rows[name].at.map(at => rows[name].words[at]) : rows[name]);
  const number = columns.findIndex(({name}) => name === "number"), study = columns.findIndex(({name}) => name === "study");
  const count = values[number].length;
  const searched = columns.flatMap(({title, format}, i) => title && (format === "text" || format === "integer") ? [i] : []);
  const format = (i, row) => values[i][row] === null ? "–" : FORMATS[columns[i].format](values[i][row]);
  const text = row => searched.map(i => format(i, row)).join("\n").toLowerCase();
  const bests = new Set(best.map(pair => pair.join("\n")));
  trials = {columns, values, count, text, texts: null, format, isBest: row => bests.has([values[study][row], values[number][row]].join("\n")),
    at: name => columns.findIndex(column => column.name === name)};
}

function selectTrials() {
  const wanted = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const kinds = trials.values[trials.at("strategy")], backbones = trials.values[trials.at("backbone")], keys = trials.values[trials.at(state.sort)];
  const rows = [];
  if (wanted.length) trials.texts ??= Array.from({length: trials.count}, (_, row) => trials.text(row));  // for the first search
  for (let row = 0; row < trials.count; row++)
    if (!state.hidden.has(kinds[row]) && !state.hidden.has(backbones[row]) && wanted.every(word => trials.texts[row].includes(word))) rows.push(row);
  const sign = state.up ? 1 : -1;
  const missing = value => value === null || value === "";
  rows.sort((a, b) => {
    const x = keys[a], y = keys[b];
    if (missing(x) || missing(y)) return missing(x) - missing(y) || a - b;
    return (typeof x === "string" ? (x < y ? -1 : x > y ? 1 : 0) : x - y) * sign || a - b;
  });
  return rows;
}

function showTrials() {
  const table = $("trials-table");
  shown = selectTrials();
  const pages = Math.max(Math.ceil(shown.length / PER_PAGE), 1);
  state.page = Math.min(state.page, pages - 1);
  const columns = trials.columns.flatMap((column, i) => column.title ? [i] : []);
  if (!table.tHead) {
    const head = table.createTHead().insertRow();
    for (const i of columns) {
      const cell = document.createElement("th"), button = document.createElement("button");
      cell.scope = "col";
      cell.dataset.name = trials.columns[i].name;
      button.type = "button";
      button.textContent = trials.columns[i].title;
      button.addEventListener("click", () => {
        state.up = state.sort === cell.dataset.name ? !state.up : true;
        state.sort = cell.dataset.name;
        state.page = 0;
        showTrials();
      });
      cell.append(button);
      head.append(cell);
    }
    table.append(document.createElement("tbody"));
  }
  for (const cell of table.tHead.rows[0].cells) {
    if (cell.dataset.name === state.sort) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
    else cell.removeAttribute("aria-sort");
  }
  const colours = Object.fromEntries(filters().map(button => [button.dataset.filter, button.dataset.colour]));
  const body = document.createElement("tbody");
  for (const row of shown.slice(state.page * PER_PAGE, (state.page + 1) * PER_PAGE)) {
    const line = body.insertRow();
    if (trials.isBest(row)) line.className = "best";
    for (const i of columns) {
      const cell = line.insertCell(), {name, format} = trials.columns[i];
      cell.dataset.name = name;
      cell.textContent = trials.format(i, row);
      if (format !== "text") { cell.className = "n"; cell.dataset.value = trials.values[i][row]; }
      if (name === "strategy") {
        const swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = colours[trials.values[i][row]];
        cell.prepend(swatch);
      }
    }
  }
  table.tBodies[0].replaceWith(body);
  const from = shown.length ? state.page * PER_PAGE + 1 : 0, to = Math.min((state.page + 1) * PER_PAGE, shown.length);
  $("shown").textContent = `${from.toLocaleString("en-US")} to ${to.toLocaleString("en-US")} of ${shown.length.toLocaleString("en-US")} shown, ${trials.count.toLocaleString("en-US")} in all`;
  $("previous").disabled = state.page === 0;
  $("next").disabled = state.page >= pages - 1;
}

// --- downloads: the rows that are shown, in their order, with every column of trial_summary ---

const EXPORTS = {
  csv: (columns, n) => {
    // A leading =, +, - or @ would be a formula in a spreadsheet.
    const cell = value => value === null ? "" : typeof value === "number" ? String(value) : `"${value.replace(/^(?=[=+\-@\t\r])/, "'").replaceAll('"', '""')}"`;
    const lines = [columns.map(column => column.name).join(",")];
    for (let i = 0; i < n; i++) lines.push(columns.map(column => cell(column.values[i])).join(","));
    return lines.join("\r\n") + "\r\n";
  },
  json: (columns, n) => JSON.stringify(Array.from({length: n}, (_, i) => Object.fromEntries(columns.map(column => [column.name, column.values[i]]))), null, 1),
  parquet,
};

function download(kind) {
  const columns = trials.columns.map(({name, format}, i) => ({name, number: format !== "text", values: shown.map(row => trials.values[i][row])}));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([EXPORTS[kind](columns, shown.length)]));
  link.download = `trials.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- live: where the page is served, what is marked data-live is replaced as results come in ---

async function refresh() {
  try {
    const answer = await fetch(`content?since=${encodeURIComponent(document.body.dataset.version)}`);
    if (answer.status === 200) {
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const part of fresh.querySelectorAll("[data-live]")) $(part.id)?.replaceWith(document.importNode(part, true));
      document.body.dataset.version = fresh.body.dataset.version;
      readAll();
    }
    if (answer.status > 299) throw new Error(answer.statusText);
    $("live").textContent = "live";
  } catch {
    $("live").textContent = "no answer: the server has stopped";
  }
}

function readAll() {
  readFigures();
  readTrials();
  for (const section of document.querySelectorAll(".classes")) showClasses(section, section.dataset.whose);
  drawAll();
  showTrials();
}

for (const button of filters()) button.addEventListener("click", () => toggle(button.dataset.filter));
for (const button of document.querySelectorAll("button[data-unit]")) button.addEventListener("click", () => {
  state.unit = document.body.dataset.unit = button.dataset.unit;
  for (const other of document.querySelectorAll("button[data-unit]")) other.setAttribute("aria-pressed", String(other === button));
  drawAll();
});
$("search").addEventListener("input", event => { state.query = event.target.value; state.page = 0; showTrials(); });
for (const [id, step] of [["previous", -1], ["next", 1]]) $(id).addEventListener("click", () => { state.page += step; showTrials(); });
for (const button of document.querySelectorAll("button[data-download]")) button.addEventListener("click", () => download(button.dataset.download));
for (const plot of document.querySelectorAll(".plot")) plot.addEventListener("keydown", walk);
scheme.addEventListener("change", () => { readFigures(); drawAll(); });
readAll();
if (document.body.dataset.version) setInterval(refresh, 3000);

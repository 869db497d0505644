// Draws the table inside it: a chart for the eye, of which the table is the other form.
// Columns say what they are by data-role; rows when they are by data-at, cells how much by data-v.
"use strict";

const LINES = {
  actual: { color: "--chart-actual", width: 1.75 },
  expected: { color: "--chart-expected", width: 1.25, dash: [5, 4] },
  even: { color: "--chart-expected", width: 1.25, dash: [2, 4] },
  forecast: { color: "--chart-actual", width: 1.5, dash: [5, 4] },
  amount: { color: "--red", width: 1.5 },
  low: { color: "--chart-edge", width: 1 },
  high: { color: "--chart-edge", width: 1 },
};
const STACKS = 9;

const valueOf = (cell) => (cell.dataset.v ? Number(cell.dataset.v) : null);

function read(table) {
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows];
  const columns = heads
    .map((head, place) => ({ role: head.dataset.role, label: head.textContent.trim(), place }))
    .filter((column) => column.role)
    .map((column) => ({ ...column, values: rows.map((row) => valueOf(row.cells[column.place])) }));
  return {
    columns,
    at: rows.map((row) => Number(row.dataset.at)),
    odd: rows.map((row) => "odd" in row.dataset),
    provisional: rows.map((row) => "provisional" in row.dataset),
  };
}

class SpendChart extends HTMLElement {
  connectedCallback() {
    if (!this.shadowRoot) this.build();
    this.watcher = new MutationObserver(() => this.later());
    this.watcher.observe(this, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-v"] });
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.place);
    this.theme = matchMedia("(prefers-color-scheme: dark)");
    this.repaint = () => { this.drawn = ""; this.later(); };
    this.theme.addEventListener("change", this.repaint);
    this.later();
  }

  disconnectedCallback() {
    this.watcher.disconnect();
    this.sizes.disconnect();
    this.theme.removeEventListener("change", this.repaint);
  }

  build() {
    const root = this.attachShadow({ mode: "open" });
    for (const href of ["/static/vendor/uplot/uPlot.min.css", "/static/chart.css"]) {
      const link = document.createElement("link");
      link.rel = "stylesheet";
      link.href = href;
      root.append(link);
    }
    this.place = document.createElement("div");
    this.place.className = "place";
    this.place.setAttribute("role", "img");
    this.place.setAttribute("aria-label", `${this.dataset.label ?? "Chart"}; the table below says the same.`);
    this.key = document.createElement("ul");
    this.key.className = "key";
    this.key.setAttribute("aria-hidden", "true");
    root.append(this.key, this.place, document.createElement("slot"));
  }

  later() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  color(name) {
    return getComputedStyle(this).getPropertyValue(name).trim();
  }

  money(value) {
    const { currency } = this.dataset;
    const style = currency && currency !== "XXX" ? { style: "currency", currency, currencyDisplay: "narrowSymbol" } : {};
    const digits = Math.abs(value) >= 100 || value === 0 ? 0 : 2;
    return new Intl.NumberFormat(undefined, { ...style, minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
  }

  tick(value) {
    const { currency } = this.dataset;
    const style = currency && currency !== "XXX" ? { style: "currency", currency, currencyDisplay: "narrowSymbol" } : {};
    return new Intl.NumberFormat(undefined, { ...style, notation: "compact", maximumSignificantDigits: 3 }).format(value);
  }

  fit() {
    if (this.plot && this.place.clientWidth) this.plot.setSize(this.size());
  }

  size() {
    return { width: this.place.clientWidth, height: Number(this.dataset.height ?? 300) };
  }

  draw() {
    const table = this.querySelector("table");
    if (!table || !this.place.clientWidth) return;
    const data = read(table);
    const drawn = JSON.stringify(data);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.plot?.destroy();
    const how = this.dataset.kind === "bars" ? this.stacked(data) : this.lined(data);
    this.plot = new uPlot({ ...this.size(), ...this.frameOf(), ...how.options }, how.values, this.place);
    this.say(how.key);
  }

  frameOf() {
    const axis = { stroke: this.color("--soft"), grid: { stroke: this.color("--line"), width: 1 }, ticks: { stroke: this.color("--line"), size: 4 }, font: "12px system-ui, sans-serif" };
    return {
      legend: { show: false },
      padding: [8, 24, 0, 0],
      tzDate: (at) => (this.zone ? uPlot.tzDate(new Date(at * 1000), this.zone) : new Date(at * 1000)),
      cursor: { points: { size: 6 }, drag: { x: true, y: false } },
      scales: { y: { range: (_, low, high) => [Math.min(low ?? 0, 0), (high ?? 1) * 1.08 || 1] } },
      axes: [
        { ...axis, space: 70, values: (plot, ticks, _a, _b, step) => ticks.map((at) => this.when(at, step)) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((value) => this.tick(value)) },
      ],
      hooks: { setCursor: [(plot) => this.point(plot)], drawClear: [(plot) => this.shade(plot)] },
    };
  }

  // A day is a day of UTC, wherever it is read; an hour is the reader's own.
  get zone() {
    return Number(this.dataset.step) >= 86400 ? "UTC" : undefined;
  }

  when(at, step) {
    const date = new Date(at * 1000);
    const isDay = step >= 86400 || (date.getHours() === 0 && date.getMinutes() === 0);
    const form = isDay ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    return new Intl.DateTimeFormat(undefined, { ...form, timeZone: this.zone }).format(date);
  }

  lined({ columns, at, odd, provisional }) {
    this.provisional = at[provisional.indexOf(true)] ?? null;
    const known = columns.filter((column) => column.values.some((value) => value !== null));
    const series = known.map((column) => {
      const line = LINES[column.role];
      return { label: column.label, stroke: this.color(line.color), width: line.width, dash: line.dash, points: { show: false } };
    });
    const values = [at, ...known.map((column) => column.values)];
    const key = known.filter((column) => !["low", "high"].includes(column.role)).map((column) => [column.role, column.label]);
    const [low, high] = ["low", "high"].map((role) => known.findIndex((column) => column.role === role) + 1);
    const bands = low && high ? [{ series: [high, low], fill: this.color("--chart-band") }] : [];
    if (bands.length) key.push(["band", this.dataset.range ?? "Expected range"]);
    const actual = known.find((column) => column.role === "actual");
    if (actual && odd.includes(true)) {
      const marked = actual.values.map((value, place) => (odd[place] || odd[place + 1] ? value : null));
      series.push({ label: "Odd", stroke: this.color("--chart-odd"), width: 2.5, points: { show: at.length < 60, size: 5, fill: this.color("--chart-odd") } });
      values.push(marked);
      key.push(["odd", "Odd"]);
    }
    if (this.provisional !== null) key.push(["provisional", "Provisional"]);
    return { values, key, options: { series: [{}, ...series], bands } };
  }

  stacked({ columns, at, provisional }) {
    this.provisional = at[provisional.indexOf(true)] ?? null;
    const sums = at.map(() => 0);
    const tops = columns.map((column) => column.values.map((value, place) => (sums[place] += value ?? 0)));
    const bars = uPlot.paths.bars({ size: [0.8, 42], align: 1 });
    const series = columns.map((column, place) => ({
      label: column.label, width: 0, paths: bars, points: { show: false },
      fill: this.color(`--stack-${place % STACKS}`), stroke: this.color(`--stack-${place % STACKS}`),
    }));
    const key = columns.length > 1 ? columns.map((column, place) => [`stack-${place % STACKS}`, column.label]) : [];
    if (this.provisional !== null) key.push(["provisional", "May still change"]);
    const step = Number(this.dataset.step ?? 86400);
    const scales = { x: { range: (_, low, high) => [low, high + step] }, y: { range: (_, low, high) => [Math.min(low ?? 0, 0), (high || 1) * 1.08] } };
    // The tallest first, so that each bar shows where it rises above the one before.
    return { values: [at, ...tops.toReversed()], key, options: { series: [{}, ...series.toReversed()], scales } };
  }

  shade(plot) {
    if (this.provisional === null) return;
    const { left, top, width, height } = plot.bbox;
    const from = Math.max(plot.valToPos(this.provisional, "x", true), left);
    plot.ctx.fillStyle = this.color("--chart-provisional");
    plot.ctx.fillRect(from, top, left + width - from, height);
  }

  say(key) {
    this.key.replaceChildren(...key.map(([role, label]) => {
      const item = document.createElement("li");
      item.className = role;
      item.textContent = label;
      return item;
    }));
    this.told = document.createElement("li");
    this.told.className = "told";
    this.key.append(this.told);
  }

  point(plot) {
    const place = plot.cursor.idx;
    if (!this.told) return;
    if (place == null) {
      this.told.textContent = "";
      return;
    }
    const data = read(this.querySelector("table"));
    const said = data.columns
      .filter((column) => column.values[place] !== null)
      .map((column) => (data.columns.length > 1 ? `${column.label} ${this.money(column.values[place])}` : this.money(column.values[place])));
    const form = this.zone ? {} : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
    const at = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: this.zone, ...form });
    this.told.textContent = `${at.format(new Date(data.at[place] * 1000))}: ${said.join(", ")}`;
  }
}

customElements.define("spend-chart", SpendChart);

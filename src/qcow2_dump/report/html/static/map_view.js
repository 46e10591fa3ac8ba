// A map on the page: cells on a canvas, to be zoomed, pointed at, and walked with the keyboard.
"use strict";

Report.CELL = 13;
Report.LARGEST_CELL = 44;
Report.GAP = 2;
Report.HEIGHT = 260;
Report.SHOWN = 4;

Report.MapView = class {
  constructor(section, map) {
    this.map = map;
    this.side = map.side;
    this.section = section;
    this.canvas = section.querySelector(".cells");
    this.strip = section.querySelector(".strip");
    this.tip = section.querySelector(".tip");
    this.details = section.querySelector(".details");
    this.where = section.querySelector(".where");
    this.only = null;
    this.from = 0;
    this.cursor = 0;
    this.pointed = false;
    this.unit = map.finest;
    this.showsAll = true;
    this.makeLegend();
    this.listen();
    new ResizeObserver(() => this.resized()).observe(this.canvas.parentElement);
    this.whole();
  }

  // How cells of the present view are laid out, in CSS pixels.
  layout() {
    const width = Math.max(120, this.canvas.parentElement.clientWidth);
    const capacity = Math.floor(width / Report.CELL) * Math.floor(Report.HEIGHT / Report.CELL);
    const wanted = Math.min(capacity, Math.ceil(this.map.size / this.unit));
    let pitch = Report.LARGEST_CELL;
    while (
      pitch > Report.CELL &&
      Math.floor(width / pitch) * Math.floor(Report.HEIGHT / pitch) < wanted
    ) {
      pitch--;
    }
    const columns = Math.floor(width / pitch);
    return { width, capacity, pitch, columns, count: wanted, rows: Math.max(1, Math.ceil(wanted / columns)) };
  }

  resized() {
    // Asked for the width before: in a narrower window the same cells would not show all.
    if (this.showsAll) this.whole();
    else this.draw();
  }

  // The smallest unit with which so many bytes fit the canvas.
  unitFor(bytes) {
    const { capacity } = this.layout();
    let unit = this.map.finest;
    while (bytes / unit > capacity) unit *= 2;
    return unit;
  }

  whole() {
    this.unit = this.unitFor(this.map.size);
    this.from = 0;
    this.draw();
  }

  get zoomedOut() {
    return this.from === 0 && this.unit >= this.unitFor(this.map.size);
  }

  // Zoom around an offset; what was pointed at stays below the pointer.
  zoom(steps, around = this.cursor, pointer = null) {
    const widest = this.unitFor(this.map.size);
    const before = this.unit;
    const unit = this.unit * Math.pow(2, -steps);
    this.unit = Math.min(widest, Math.max(this.map.finest, unit));
    if (this.unit === before) return;
    const cell = (pointer && this.cellAt(pointer)) ?? Math.floor((around - this.from) / before);
    this.moveTo(Math.floor(around / this.unit) * this.unit - cell * this.unit);
  }

  moveTo(from) {
    const { count } = this.layout();
    const cells = Math.ceil(this.map.size / this.unit);
    const first = Math.min(cells - count, Math.round(from / this.unit));
    this.from = Math.max(0, first) * this.unit;
    this.draw();
  }

  // Zoom to a place and point at it.
  show(from, to) {
    const place = Math.min(from, Math.max(0, this.map.size - 1));
    this.unit = this.unitFor(Math.max(to - from, this.map.finest) * 8);
    this.cursor = place;
    this.pointed = true;
    const { count } = this.layout();
    this.moveTo(place - Math.floor(count / 2) * this.unit);
    this.canvas.scrollIntoView({ block: "center" });
    this.canvas.focus({ preventScroll: true });
    this.pin();
  }

  // Point at the next damage, or the one before; as long as nothing was pointed at, the first.
  toDamage(step) {
    const ranges = this.map.damage;
    const cell = this.pointed ? this.cellOf(this.cursor) : { from: 0, to: 0 };
    const found =
      step > 0
        ? ranges.find((range) => range.from >= cell.to) ?? ranges[0]
        : ranges.findLast((range) => range.to <= cell.from) ?? ranges[ranges.length - 1];
    if (!found) {
      this.where.textContent = "No damage is known here";
      Report.say("No damage is known here");
      return;
    }
    this.cursor = found.from;
    this.pointed = true;
    this.follow();
    this.pin();
  }

  // The range of the cell that holds an offset.
  cellOf(offset) {
    const from = Math.floor(offset / this.unit) * this.unit;
    return { from, to: Math.min(this.map.size, from + this.unit) };
  }

  // Keep the cursor in sight.
  follow() {
    const { count } = this.layout();
    if (this.cursor < this.from || this.cursor >= this.from + count * this.unit) {
      this.moveTo(this.cursor - Math.floor(count / 2) * this.unit);
    } else {
      this.draw();
    }
  }

  draw() {
    const layout = this.layout();
    const cells = this.map.cells(this.from, this.unit, layout.count);
    const context = Report.prepare(this.canvas, layout.width, layout.rows * layout.pitch);
    const colors = this.colors();
    const damage = Report.color("--damage");
    const side = layout.pitch - Report.GAP;
    for (let cell = 0; cell < layout.count; cell++) {
      const x = (cell % layout.columns) * layout.pitch;
      const y = Math.floor(cell / layout.columns) * layout.pitch;
      const mask = cells.masks[cell];
      const chosen = this.only === null || mask & (1 << this.only);
      context.globalAlpha = chosen ? 1 : 0.13;
      const kind = chosen && this.only !== null ? this.only : cells.kinds[cell];
      context.fillStyle = colors[kind];
      context.fillRect(x, y, side, side);
      if (cells.inner[cell] >= 0 && this.only === null) {
        context.fillStyle = colors[cells.inner[cell]];
        context.fillRect(x + side / 4, y + side / 4, side / 2, side / 2);
      }
      context.globalAlpha = 1;
      if (mask & Report.DAMAGED) Report.markDamage(context, x, y, side, damage);
    }
    this.drawCursor(context, layout);
    this.drawStrip(layout);
    this.tell(layout);
  }

  colors() {
    return this.map.classes.map((entry) => Report.color(`--class-${entry.id}`));
  }

  drawCursor(context, layout) {
    if (!this.pointed) return;
    const cell = Math.floor((this.cursor - this.from) / this.unit);
    if (cell < 0 || cell >= layout.count) return;
    const x = (cell % layout.columns) * layout.pitch;
    const y = Math.floor(cell / layout.columns) * layout.pitch;
    const side = layout.pitch - Report.GAP;
    context.lineWidth = 2;
    context.strokeStyle = Report.color("--text");
    context.strokeRect(x + 1, y + 1, side - 2, side - 2);
  }

  // The whole file as one bar, its damage below, and what the cells show of it.
  drawStrip(layout) {
    const height = 34;
    const context = Report.prepare(this.strip, layout.width, height);
    const unit = this.map.size / layout.width;
    if (!unit) return;
    const cells = this.map.cells(0, unit, layout.width);
    const colors = this.colors();
    for (let x = 0; x < layout.width; x++) {
      context.fillStyle = colors[cells.kinds[x]];
      context.fillRect(x, 4, 1, 18);
      if (cells.inner[x] >= 0) {
        context.fillStyle = colors[cells.inner[x]];
        context.fillRect(x, 10, 1, 6);
      }
    }
    context.fillStyle = Report.color("--damage");
    for (let x = 0; x < layout.width; x++) {
      if (cells.masks[x] & Report.DAMAGED) context.fillRect(x - 1, 25, 3, 7);
    }
    if (this.zoomedOut) return;
    const left = this.from / unit;
    const right = Math.min(this.map.size, this.from + layout.count * this.unit) / unit;
    context.strokeStyle = Report.color("--text");
    context.lineWidth = 2;
    context.strokeRect(Math.max(1, left - 1), 1, Math.max(4, right - left + 1), 24);
  }

  tell(layout) {
    const end = Math.min(this.map.size, this.from + layout.count * this.unit);
    const range = end > this.from ? Report.range(this.from, end) : "nothing";
    this.showsAll = this.zoomedOut;
    const isFinest = this.unit <= this.map.finest;
    const isCoarse = isFinest && this.map.finest > Report.data.clusterSize;
    const cell = Report.size(this.unit);
    this.where.textContent =
      `${range}, ${cell} a cell` + (isCoarse ? "; this page holds no finer picture" : "");
    const why = isCoarse ? `One cell is ${cell}; this page holds no finer picture` : "A cell is a cluster";
    this.section.querySelector('[data-act="in"]').title = isFinest ? why : "";
    for (const [name, off] of [
      ["in", isFinest],
      ["out", this.zoomedOut],
      ["whole", this.zoomedOut],
    ]) {
      this.section.querySelector(`[data-act="${name}"]`).setAttribute("aria-disabled", off);
    }
  }
};

// Size a canvas for the screen's pixels; drawing is in CSS pixels.
Report.prepare = function (canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return context;
};

// A frame and a corner: seen however small the cell, and without colours.
Report.markDamage = function (context, x, y, side, color) {
  context.fillStyle = color;
  context.fillRect(x, y, side, 2);
  context.fillRect(x, y + side - 2, side, 2);
  context.fillRect(x, y, 2, side);
  context.fillRect(x + side - 2, y, 2, side);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x + side * 0.75, y);
  context.lineTo(x, y + side * 0.75);
  context.fill();
};

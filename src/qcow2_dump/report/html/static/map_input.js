// What the reader does to a map, and what the map answers.
"use strict";

Object.assign(Report.MapView.prototype, {
  listen() {
    const { canvas, section } = this;
    canvas.addEventListener("pointerdown", (event) => this.grasp(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event) || this.point(event));
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("blur", () => (this.tip.hidden = true));
    canvas.addEventListener("click", (event) => {
      const at = this.offsetAt(event);
      if (at === null || this.grasped?.moved) return;
      this.cursor = at;
      this.pointed = true;
      this.draw();
      this.pin();
    });
    canvas.addEventListener("dblclick", (event) => this.zoomAt(2, event));
    canvas.addEventListener(
      "wheel",
      (event) => {
        // The wheel alone scrolls the page.
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.zoomAt(event.deltaY < 0 ? 1 : -1, event);
      },
      { passive: false },
    );
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const button of section.querySelectorAll("[data-act]")) {
      button.addEventListener("click", () => this.act(button.dataset.act));
    }
    const slide = (event) => {
      const box = this.strip.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      const { count } = this.layout();
      if (this.zoomedOut) this.unit = Math.max(this.map.finest, this.unit / 8);
      this.cursor = Math.min(this.map.size - 1, Math.max(0, Math.floor(share * this.map.size)));
      this.moveTo(this.cursor - (count / 2) * this.unit);
    };
    this.strip.addEventListener("pointerdown", (event) => {
      this.strip.setPointerCapture(event.pointerId);
      slide(event);
    });
    this.strip.addEventListener("pointermove", (event) => event.buttons && slide(event));
  },

  grasp(event) {
    if (event.button === 0) {
      this.grasped = { x: event.offsetX, y: event.offsetY, from: this.from, moved: false };
    }
  },

  // Move what is shown with the pointer; false where nothing is being dragged.
  drag(event) {
    const { grasped } = this;
    if (!grasped || !(event.buttons & 1)) return false;
    const { pitch, columns } = this.layout();
    const across = Math.round((grasped.x - event.offsetX) / pitch);
    const down = Math.round((grasped.y - event.offsetY) / pitch);
    if (!grasped.moved && !across && !down) return false;
    if (!grasped.moved) this.canvas.setPointerCapture(event.pointerId);
    grasped.moved = true;
    this.tip.hidden = true;
    this.moveTo(grasped.from + (across + down * columns) * this.unit);
    return true;
  },

  act(name) {
    const acts = {
      in: () => this.zoom(2),
      out: () => this.zoom(-2),
      whole: () => this.whole(),
      next: () => this.toDamage(1),
      previous: () => this.toDamage(-1),
    };
    acts[name]();
  },

  key(event) {
    const { columns, count } = this.layout();
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -count,
      PageDown: count,
      Home: -Infinity,
      End: Infinity,
    };
    const acts = { "+": "in", "=": "in", "-": "out", 0: "whole", n: "next", p: "previous" };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key in steps) {
      const last = Math.max(0, this.map.size - 1);
      const to = this.cursor + steps[event.key] * this.unit;
      // The first key only shows where the reader is.
      if (this.pointed) this.cursor = Math.min(last, Math.max(0, to));
      this.pointed = true;
      this.follow();
      this.tellCursor();
    } else if (event.key in acts) {
      this.act(acts[event.key]);
    } else if (event.key === "Enter") {
      this.pin();
    } else if (event.key === "Escape") {
      this.tip.hidden = true;
    } else {
      return;
    }
    event.preventDefault();
  },

  zoomAt(steps, event) {
    const offset = this.offsetAt(event);
    if (offset === null) this.zoom(steps);
    else this.zoom(steps, offset, event);
  },

  // The cell under the pointer, counted from the upper left; null beside the cells.
  cellAt(event) {
    const layout = this.layout();
    const column = Math.floor(event.offsetX / layout.pitch);
    const row = Math.floor(event.offsetY / layout.pitch);
    const cell = row * layout.columns + column;
    const isBeside = column < 0 || row < 0 || column >= layout.columns || cell >= layout.count;
    return isBeside ? null : cell;
  },

  // The offset in the file or on the disk under the pointer, null beside the cells.
  offsetAt(event) {
    const cell = this.cellAt(event);
    if (cell === null) return null;
    const offset = this.from + cell * this.unit;
    return offset < this.map.size ? offset : null;
  },

  point(event) {
    const offset = this.offsetAt(event);
    if (offset === null) this.tip.hidden = true;
    else this.showTip(offset, event.offsetX, event.offsetY);
  },

  tellCursor() {
    const { columns, pitch } = this.layout();
    const cell = Math.floor((this.cursor - this.from) / this.unit);
    this.showTip(this.cursor, (cell % columns) * pitch + 8, Math.floor(cell / columns) * pitch + 8);
    Report.say(this.words(this.cursor).join("; "));
  },

  showTip(offset, x, y) {
    this.tip.replaceChildren(...this.words(offset).map((line) => Report.make("div", line)));
    this.tip.hidden = false;
    const room = this.canvas.parentElement.clientWidth - this.tip.offsetWidth - 4;
    this.tip.style.left = `${Math.max(0, Math.min(room, x + 14))}px`;
    this.tip.style.top = `${y + 18}px`;
  },

  // What is in the cell at an offset: the first line says what, the others where, whose, and what
  // was found there.
  words(offset) {
    const { from, to } = this.cellOf(offset);
    const lines = this.placeWords(from, to);
    const findings = Report.findingsIn(this.side, from, to);
    // A line that says "1 more" could as well say which.
    const named = findings.length > 3 ? findings.slice(0, 2) : findings;
    for (const finding of named) lines.push(`finding ${finding.number}: ${finding.code}`);
    const more = findings.length - named.length;
    if (more) lines.push(`and ${Report.counted(more, "more finding")}`);
    return lines;
  },

  placeWords(from, to) {
    const { parts, damaged, exact } = this.map.describe(from, to);
    const named = parts.map((part) =>
      exact && parts.length > 1
        ? `${part.label} ${Report.percent(part.bytes, to - from)}`
        : part.label,
    );
    const words = exact || named.length < 2 ? named : [`mostly ${named[0]}`, ...named.slice(1)];
    const lines = [(damaged ? "DAMAGED: " : "") + words.join(", ")];
    const own = this.side === "host" ? "file" : "guest";
    lines.push(`${own} ${Report.range(from, to)} (${Report.size(to - from)})`);
    if (this.side === "host") lines.push(...this.structureWords(from, to));
    lines.push(...this.acrossWords(from, to));
    return lines;
  },

  structureWords(from, to) {
    const { words, total } = Report.structuresIn(from, to, Report.SHOWN);
    return total > words.length ? [...words, `and ${Report.counted(total - words.length, "more structure")}`] : words;
  },

  // Where the data of the cell lies on the other side.
  acrossWords(from, to) {
    if (!Report.extents) return [];
    const other = this.side === "host" ? "guest" : "file";
    const { found, total } = Report.extents.across(this.side, from, to, 2);
    const lines = found.map((range) => `${other} ${Report.range(range.from, range.to)}`);
    return total > found.length ? [...lines, `and ${total - found.length} more pieces`] : lines;
  },

  // Say all about the cell at the cursor below the map, with ways to go on.
  pin() {
    this.tip.hidden = true;
    const { from, to } = this.cellOf(this.cursor);
    const [what, ...rest] = this.placeWords(from, to);
    const list = Report.make("ul", "", { class: "plain" });
    for (const line of rest) list.append(Report.make("li", line));
    this.details.replaceChildren(Report.make("h3", what), list);
    this.linkFindings(from, to);
    this.linkAcross(from, to);
    this.addCommand(from);
    this.details.hidden = false;
    Report.say(this.words(this.cursor).join("; "));
  },

  linkFindings(from, to) {
    const findings = Report.findingsIn(this.side, from, to);
    if (!findings.length) return;
    const line = Report.make("p", findings.length === 1 ? "Finding: " : "Findings: ");
    for (const finding of findings.slice(0, 12)) {
      const link = Report.make("a", `${finding.number} ${finding.code}`, {
        href: `#finding-${finding.number}`,
      });
      link.addEventListener("click", (event) => {
        event.preventDefault();
        Report.table.reveal(finding.number);
      });
      line.append(link, " ");
    }
    if (findings.length > 12) line.append(`and ${findings.length - 12} more`);
    this.details.append(line);
  },

  linkAcross(from, to) {
    if (!Report.extents) return;
    const { found } = Report.extents.across(this.side, from, to, 1);
    if (!found.length) return;
    const other = this.side === "host" ? "guest" : "host";
    const words = other === "guest" ? "Show it on the guest's disk" : "Show it in the file";
    const button = Report.make("button", words, { type: "button" });
    button.addEventListener("click", () => Report.maps[other].show(found[0].from, found[0].to));
    this.details.append(button);
  },

  addCommand(from) {
    const option = this.side === "host" ? "--host" : "--guest";
    const command = `${Report.data.locate} ${option} ${Report.hex(from)}`;
    const line = Report.make("p", "More: ");
    const button = Report.make("button", "Copy", { type: "button", "aria-label": "Copy the command" });
    button.addEventListener("click", () => Report.copy(command, button));
    line.append(Report.make("code", command), " ", button);
    this.details.append(line);
  },

  makeLegend() {
    const legend = this.section.querySelector(".legend");
    this.map.classes.forEach((entry, kind) => {
      if (!entry.bytes) return;
      const button = Report.make("button", "", { type: "button", "aria-pressed": "false" });
      const swatch = Report.make("span", "", { class: "swatch", "aria-hidden": "true" });
      swatch.style.background = `var(--class-${entry.id})`;
      const share = Report.percent(entry.bytes, this.map.size);
      button.append(swatch, `${entry.label} `, Report.make("small", `${Report.size(entry.bytes)}, ${share}`));
      button.addEventListener("click", () => {
        this.only = this.only === kind ? null : kind;
        for (const other of legend.querySelectorAll("button")) {
          other.setAttribute("aria-pressed", String(other === button && this.only !== null));
        }
        this.draw();
      });
      const item = Report.make("li", "");
      item.append(button);
      legend.append(item);
    });
    const damaged = Report.make("li", "", { class: "key" });
    const sign = Report.make("span", "", { class: "swatch damaged", "aria-hidden": "true" });
    const some = this.map.damage.length > 0;
    damaged.append(sign, "damaged ", Report.make("small", Report.data.maps[this.side].damaged));
    legend.append(damaged);
    for (const name of ["next", "previous"]) {
      this.section.querySelector(`[data-act="${name}"]`).hidden = !some;
    }
  },
});

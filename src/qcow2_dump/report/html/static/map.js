// One map: the runs of classes of the file or of the disk, and sums over any stretch of it.
"use strict";

Report.DAMAGED = 1 << 15;
Report.CLASSES = 16;

Report.ClassMap = class {
  constructor(side, spec, columns) {
    this.side = side;
    this.size = spec.size;
    this.finest = spec.finest;
    this.classes = spec.classes;
    this.kinds = columns.kind;
    this.masks = columns.mask;
    this.starts = new Float64Array(columns.length.length + 1);
    for (let at = 0; at < columns.length.length; at++) {
      this.starts[at + 1] = this.starts[at] + columns.length[at] * spec.cell;
    }
    this.damage = this.damagedRanges();
  }

  // What is damaged, in order: runs that say so, and the places of findings.
  damagedRanges() {
    const ranges = [];
    for (let at = 0; at < this.masks.length; at++) {
      if (this.masks[at] & Report.DAMAGED) {
        ranges.push({ from: this.starts[at], to: Math.min(this.size, this.starts[at + 1]) });
      }
    }
    for (const finding of Report.findings) {
      const place = finding[this.side];
      if (finding.damage && place && place.from < this.size) {
        ranges.push({ from: place.from, to: Math.max(place.to, place.from + 1) });
      }
    }
    ranges.sort((a, b) => a.from - b.from);
    const merged = [];
    for (const range of ranges) {
      const last = merged[merged.length - 1];
      if (last && range.from <= last.to) last.to = Math.max(last.to, range.to);
      else merged.push({ ...range });
    }
    return merged;
  }

  // The class that fills most of each cell, the mask of all that is in it, and what else is to be
  // seen (-1 for nothing): what a cell that is mostly free holds, since little data in a large disk
  // has to be found, and leaks among other things, which spread evenly would never be the most.
  cells(from, unit, count) {
    const kinds = new Uint8Array(count);
    const masks = new Uint16Array(count);
    const inner = new Int8Array(count).fill(-1);
    const free = this.classes.findIndex((entry) => entry.id === "free");
    const leaked = this.classes.findIndex((entry) => entry.id === "leaked");
    const shares = new Float64Array(count * Report.CLASSES);
    const end = Math.min(this.size, from + unit * count);
    let run = Math.max(0, Report.lastBelow(this.starts, from));
    for (; run < this.kinds.length && this.starts[run] < end; run++) {
      const kind = this.kinds[run];
      const start = Math.max(from, this.starts[run]);
      const stop = Math.min(end, this.starts[run + 1]);
      const last = Math.min(count, Math.ceil((stop - from) / unit));
      for (let cell = Math.floor((start - from) / unit); cell < last; cell++) {
        const low = Math.max(start, from + cell * unit);
        const high = Math.min(stop, from + (cell + 1) * unit);
        shares[cell * Report.CLASSES + kind] += high - low;
        masks[cell] |= this.masks[run];
      }
    }
    for (let cell = 0; cell < count; cell++) {
      let best = 0;
      for (let kind = 1; kind < this.classes.length; kind++) {
        const at = cell * Report.CLASSES;
        if (shares[at + kind] > shares[at + best]) best = kind;
      }
      kinds[cell] = best;
      if (best === free) inner[cell] = this.largestBeside(free, shares, masks[cell], cell);
      else if (leaked >= 0 && best !== leaked && masks[cell] & (1 << leaked)) inner[cell] = leaked;
    }
    for (const range of this.damageIn(from, end)) {
      const last = Math.min(count, Math.ceil((range.to - from) / unit));
      const first = Math.max(0, Math.floor((range.from - from) / unit));
      for (let cell = first; cell < last; cell++) masks[cell] |= Report.DAMAGED;
    }
    return { kinds, masks, inner };
  }

  // The class that fills most of what a class leaves of a cell; -1 where it leaves nothing.
  largestBeside(free, shares, mask, cell) {
    let best = -1;
    let most = -1;
    for (let kind = 0; kind < this.classes.length; kind++) {
      const share = shares[cell * Report.CLASSES + kind];
      if (kind === free || !(mask & (1 << kind)) || share <= most) continue;
      best = kind;
      most = share;
    }
    return best;
  }

  // The damaged ranges that touch [from, to).
  damageIn(from, to) {
    let low = 0;
    let high = this.damage.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.damage[middle].to <= from) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < this.damage.length && this.damage[end].from < to) end++;
    return this.damage.slice(low, end);
  }

  // Bytes of each class in [from, to), the largest first; whether they are exact; any damage.
  describe(from, to) {
    const sums = new Float64Array(this.classes.length);
    let mask = 0;
    let exact = true;
    let run = Math.max(0, Report.lastBelow(this.starts, from));
    for (; run < this.kinds.length && this.starts[run] < to; run++) {
      if ((this.masks[run] & ~Report.DAMAGED) !== 1 << this.kinds[run]) exact = false;
      sums[this.kinds[run]] += Math.min(to, this.starts[run + 1]) - Math.max(from, this.starts[run]);
      mask |= this.masks[run];
    }
    const parts = [];
    this.classes.forEach((entry, kind) => {
      // A class can be in a coarse run without filling most of it.
      if (sums[kind] > 0 || mask & (1 << kind)) parts.push({ label: entry.label, bytes: sums[kind] });
    });
    parts.sort((a, b) => b.bytes - a.bytes);
    return { parts, exact, damaged: this.damageIn(from, to).length > 0 };
  }
};

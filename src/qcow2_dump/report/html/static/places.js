// What is known of a stretch of the file or of the disk, besides its class.
"use strict";

// Pieces of data: where each lies on the disk and in the file, found from either side.
Report.Extents = class {
  constructor(columns) {
    this.columns = columns;
    this.byHost = Array.from(columns.host.keys()).sort((a, b) => columns.host[a] - columns.host[b]);
    this.hosts = Float64Array.from(this.byHost, (row) => columns.host[row]);
  }

  // The other side of what lies in [from, to) on one side: [{from, to}], and how many in all.
  across(side, from, to, most) {
    const { guest, host, length } = this.columns;
    const [own, other] = side === "host" ? [host, guest] : [guest, host];
    const rowAt = side === "host" ? (at) => this.byHost[at] : (at) => at;
    const starts = side === "host" ? this.hosts : guest;
    const found = [];
    let total = 0;
    for (let at = Math.max(0, Report.lastBelow(starts, from)); at < starts.length; at++) {
      const row = rowAt(at);
      if (own[row] >= to) break;
      if (own[row] + length[row] <= from) continue;
      total++;
      if (found.length === most) continue;
      const start = Math.max(from, own[row]);
      const end = Math.min(to, own[row] + length[row]);
      found.push({ from: other[row] + start - own[row], to: other[row] + end - own[row] });
    }
    return { found, total };
  }
};

// Tables and other structures in the file: words for those in [from, to), the first few.
Report.structuresIn = function (from, to, most) {
  const words = [];
  let total = 0;
  for (const region of Report.data.structures.regions) {
    if (region.from >= to || region.to <= from) continue;
    if (total++ < most) words.push(region.label);
  }
  for (const [table, name] of [["l2", Report.l2Words], ["blocks", Report.blockWords]]) {
    const rows = Report.structures[table];
    if (!rows) continue;
    const size = Report.data.clusterSize;
    for (let at = Math.max(0, Report.lastBelow(rows.offset, from)); at < rows.offset.length; at++) {
      if (rows.offset[at] >= to) break;
      if (rows.offset[at] + size <= from) continue;
      if (total++ < most) words.push(name(rows, at));
    }
  }
  return { words, total };
};

Report.l2Words = function (rows, at) {
  const from = rows.index[at] * Report.data.structures.l1Span;
  const active = rows.active[at];
  const owners = [active ? "active layer" : "", rows.weight[at] > active ? "snapshots" : ""];
  const whose = owners.filter(Boolean).join(" and ");
  return `L2 table of guest ${Report.range(from, from + Report.data.structures.l1Span)}, ${whose}`;
};

Report.blockWords = function (rows, at) {
  const from = rows.index[at] * Report.data.structures.blockSpan;
  const range = Report.range(from, from + Report.data.structures.blockSpan);
  return `refcount block of file offsets ${range}`;
};

// The findings whose place in the file or on the disk touches [from, to).
Report.findingsIn = function (side, from, to) {
  return Report.findings.filter((finding) => {
    const place = finding[side];
    return place && place.from < to && Math.max(place.to, place.from + 1) > from;
  });
};

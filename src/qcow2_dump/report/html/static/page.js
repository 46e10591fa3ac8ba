// The page as a whole: its colours, its buttons, and the order in which things are made.
"use strict";

Report.redraw = function () {
  for (const view of Object.values(Report.maps)) view.draw();
  Report.drawCharts();
};

Report.listen = function () {
  document.addEventListener("theme", () => Report.redraw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => Report.redraw());
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => {
      const text = document.getElementById(button.dataset.copy).textContent;
      Report.copy(text, button);
    });
  }
  for (const link of document.querySelectorAll("[data-code]:is(a)")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      Report.table.only(link.dataset.code);
    });
  }
  // Paper is white.
  let before = null;
  window.addEventListener("beforeprint", () => {
    before = document.documentElement.getAttribute("data-theme") ?? "auto";
    Theme.set("light");
  });
  window.addEventListener("afterprint", () => Theme.set(before ?? "auto"));
};

Report.start = async function () {
  const table = document.getElementById("findings");
  Report.findings = [...table.querySelectorAll("tbody tr")].map(Report.Table.read);
  if (Report.findings.length) Report.table = new Report.Table(table);
  const { maps, extents, structures } = Report.data;
  Report.extents = extents ? new Report.Extents(await Report.unpack(extents)) : null;
  Report.structures = {};
  for (const name of ["l2", "blocks"]) {
    Report.structures[name] = structures[name] ? await Report.unpack(structures[name]) : null;
  }
  for (const side of ["host", "guest"]) {
    const map = new Report.ClassMap(side, maps[side], await Report.unpack(maps[side].runs));
    Report.maps[side] = new Report.MapView(document.getElementById(`${side}-map`), map);
  }
  Report.drawCharts();
  Report.listen();
  document.documentElement.dataset.ready = "";
};

Report.start();

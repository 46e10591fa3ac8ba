// The findings: sorted, filtered, copied, and linked with both maps.
"use strict";

Report.Table = class {
  constructor(section) {
    this.section = section;
    this.body = section.querySelector("tbody");
    this.rows = [...this.body.rows];
    this.search = section.querySelector("#search");
    this.severity = section.querySelector("#severity");
    this.code = section.querySelector("#code");
    this.count = section.querySelector(".count");
    for (const field of [this.search, this.severity, this.code]) {
      field.addEventListener("input", () => this.filter());
    }
    for (const button of section.querySelectorAll("th button")) {
      button.addEventListener("click", () => this.sort(button));
    }
    for (const button of section.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => this.show(button));
    }
    section.querySelector("#copy").addEventListener("click", (event) => {
      Report.copy(this.text(), event.currentTarget);
    });
    this.filter();
  }

  // What the maps and the links need to know of a row.
  static read(row) {
    const range = (name) =>
      row.dataset[name] === undefined
        ? null
        : { from: Number(row.dataset[name]), to: Number(row.dataset[`${name}End`]) };
    return {
      number: Number(row.dataset.number),
      code: row.dataset.code,
      damage: row.dataset.damage !== undefined,
      host: range("host"),
      guest: range("guest"),
    };
  }

  filter() {
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of this.rows) {
      const text = row.textContent.toLowerCase();
      const fits =
        (!this.severity.value || row.dataset.severity === this.severity.value) &&
        (!this.code.value || row.dataset.code === this.code.value) &&
        words.every((word) => text.includes(word));
      row.hidden = !fits;
      if (fits) shown++;
    }
    this.count.textContent =
      (shown === this.rows.length ? "" : `${shown} of `) + Report.counted(this.rows.length, "finding");
  }

  sort(button) {
    const heading = button.closest("th");
    const ascending = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = button.dataset.sort;
    const numeric = key !== "code";
    // Rows without the value come last in either direction.
    const value = (row) => row.dataset[key] ?? null;
    this.rows.sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null);
      const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
      return (ascending ? order : -order) || one.dataset.number - other.dataset.number;
    });
    this.body.append(...this.rows);
  }

  show(button) {
    const finding = Report.findings[Number(button.closest("tr").dataset.number) - 1];
    const place = finding[button.dataset.show];
    Report.maps[button.dataset.show].show(place.from, place.to);
  }

  // Bring a row into sight, whatever was filtered away.
  reveal(number) {
    const row = document.getElementById(`finding-${number}`);
    if (row.hidden) {
      this.search.value = this.severity.value = this.code.value = "";
      this.filter();
    }
    for (const other of this.body.querySelectorAll(".chosen")) other.classList.remove("chosen");
    row.classList.add("chosen");
    row.scrollIntoView({ block: "center" });
    row.focus({ preventScroll: true });
  }

  only(code) {
    this.search.value = this.severity.value = "";
    this.code.value = code;
    this.filter();
    this.section.scrollIntoView();
    this.code.focus({ preventScroll: true });
  }

  // What is shown, for a spreadsheet or a ticket: columns between tabs.
  text() {
    const cells = (row) =>
      [...row.cells].map((cell) => {
        const copy = cell.cloneNode(true);
        for (const part of copy.querySelectorAll("[data-show], .printed")) part.remove();
        return copy.textContent.replace(/\s+/g, " ").trim();
      });
    const heading = this.section.querySelector("thead tr");
    const shown = this.rows.filter((row) => !row.hidden);
    return [heading, ...shown].map((row) => cells(row).join("\t")).join("\n");
  }
};

// What the other scripts share: reading the data of the page, and words for numbers.
"use strict";

const Report = { maps: {}, findings: [] };

Report.data = JSON.parse(document.getElementById("report-data").textContent);

// Bytes that Python packed: columns of numbers, their bytes transposed, deflated, in base64.
Report.unpack = async function (packed) {
  const raw = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  const stream = new Blob([raw]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const columns = {};
  let at = 0;
  for (const [name, width] of packed.columns) {
    const column = new Float64Array(packed.count);
    let scale = 1;
    for (let byte = 0; byte < width; byte++, scale *= 256) {
      for (let row = 0; row < packed.count; row++) column[row] += bytes[at++] * scale;
    }
    columns[name] = column;
  }
  return columns;
};

Report.hex = (value) => "0x" + BigInt(Math.round(value)).toString(16);

Report.range = function (from, to) {
  return to - from > 1 ? `${Report.hex(from)}-${Report.hex(to - 1)}` : Report.hex(from);
};

Report.size = function (bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  let value = bytes;
  while (unit + 1 < units.length && value >= 1024) {
    value /= 1024;
    unit++;
  }
  if (unit === 0) return bytes === 1 ? "1 byte" : `${bytes.toLocaleString("en-US")} bytes`;
  return `${value < 100 ? Number(Report.fixed(value, 2)) : Report.fixed(value, 0)} ${units[unit]}`;
};

Report.percent = function (part, whole) {
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.05) return "< 0.1 %";
  return percent >= 99.95 && part < whole ? "> 99.9 %" : `${Report.fixed(percent, 1)} %`;
};

// A number with so many digits behind the point, which half of a digit makes even, as in the
// tables and in what the program prints.
Report.fixed = function (value, digits) {
  const text = value.toFixed(digits);
  const halves = value * 2 ** (digits + 1);
  const isHalf = Number.isInteger(halves) && halves % 2 !== 0;
  if (!isHalf || Number(text.at(-1)) % 2 === 0) return text;
  return (Number(text) - 10 ** -digits).toFixed(digits);
};

Report.counted = (count, what) => `${count.toLocaleString("en-US")} ${what}${count === 1 ? "" : "s"}`;

// The position of the last number that is not greater, in an ascending column; -1 for none.
Report.lastBelow = function (column, value) {
  let low = 0;
  let high = column.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (column[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
};

// An element with text in it: nothing here ever parses markup.
Report.make = function (tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
};

Report.color = (name) =>
  getComputedStyle(document.documentElement).getPropertyValue(name).trim();

Report.copy = async function (text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page from a file may be kept from the clipboard, but not from its own selection.
    const area = Report.make("textarea", "", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = done ? "Copied" : "Not copied";
  Report.say(done ? "Copied to the clipboard" : "The browser does not allow copying");
  setTimeout(() => (button.textContent = before), 1500);
};

// What a screen reader is told.
Report.say = (words) => (document.getElementById("said").textContent = words);

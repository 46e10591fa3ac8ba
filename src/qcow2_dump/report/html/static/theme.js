// The reader's choice of colours, which pages and their index have alike.
"use strict";

const Theme = {
  set(theme) {
    if (theme === "auto") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.setAttribute("data-theme", theme);
    // Canvases have to be drawn anew.
    document.dispatchEvent(new Event("theme"));
  },
};

// Only now are there buttons: without scripts they would do nothing.
document.documentElement.dataset.scripts = "";
document.getElementById("theme").addEventListener("input", (event) => {
  Theme.set(event.currentTarget.value);
});

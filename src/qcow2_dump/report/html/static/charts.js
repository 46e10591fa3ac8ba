// The charts, made anew whenever the colours change. Their figures stand in tables beside them.
"use strict";

Report.charts = [];

Report.drawCharts = function () {
  for (const chart of Report.charts.splice(0)) chart.destroy();
  Chart.defaults.animation = false;
  Chart.defaults.color = Report.color("--text");
  Chart.defaults.borderColor = Report.color("--line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  Chart.defaults.maintainAspectRatio = false;
  Report.drawSpace(Report.data.charts.space);
  Report.drawFragments(Report.data.charts.fragments);
};

Report.drawSpace = function (space) {
  const canvas = document.getElementById("space-chart");
  if (!canvas) return;
  // A narrow window needs a second line for the legend, and has room for fewer sizes.
  const narrow = canvas.parentElement.clientWidth < 480;
  canvas.parentElement.style.height = `${(narrow ? 104 : 78) + 30 * space.labels.length}px`;
  const datasets = space.parts.map((part) => ({
    label: part.label,
    data: part.bytes,
    backgroundColor: Report.color(`--class-${part.id}`),
    borderColor: Report.color("--surface"),
    borderWidth: 1,
    maxBarThickness: 26,
  }));
  const largest = Math.max(1, ...space.labels.map((_, row) =>
    space.parts.reduce((sum, part) => sum + part.bytes[row], 0)));
  // Powers of two are round numbers here.
  const step = Math.max(1, Math.pow(2, Math.ceil(Math.log2(largest / (narrow ? 3 : 6)))));
  const chart = new Chart(canvas, {
    type: "bar",
    data: { labels: space.labels, datasets },
    options: {
      indexAxis: "y",
      scales: {
        x: {
          stacked: true,
          ticks: { callback: (value) => Report.size(value), stepSize: step, maxRotation: 0 },
          title: { display: true, text: "space in the file" },
        },
        y: { stacked: true, grid: { display: false } },
      },
      plugins: {
        tooltip: {
          callbacks: { label: (item) => `${item.dataset.label}: ${Report.size(item.raw)}` },
        },
      },
    },
  });
  Report.charts.push(chart);
};

Report.drawFragments = function (fragments) {
  const canvas = document.getElementById("fragment-chart");
  if (!canvas) return;
  const chart = new Chart(canvas, {
    type: "bar",
    data: {
      labels: fragments.labels,
      datasets: [
        {
          label: "pieces",
          data: fragments.counts,
          backgroundColor: Report.color("--class-active"),
          maxBarThickness: 60,
        },
      ],
    },
    options: {
      scales: {
        x: { grid: { display: false }, title: { display: true, text: "size of a piece, from" } },
        y: { beginAtZero: true, ticks: { precision: 0 }, title: { display: true, text: "pieces" } },
      },
      plugins: { legend: { display: false } },
    },
  });
  Report.charts.push(chart);
};

"use strict";
// Charts from figures in the page: <canvas data-chart='{"labels": […], "series": […]}'>. All else works without a script.
(() => {
  const drawn = new Map();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Where there are times, points stand as far apart as they are in time.
  const placed = (spec, values) => (spec.times ? values.map((y, n) => ({ x: Date.parse(spec.times[n]), y })) : values);

  function datasets(spec) {
    const sets = [];
    for (const one of spec.series) {
      if (one.low) {
        const edge = { borderWidth: 0, pointRadius: 0, pointHitRadius: 0, backgroundColor: colour("--range"), spanGaps: true };
        sets.push({ ...edge, label: "95 % sure above", data: one.low, fill: false });
        sets.push({ ...edge, label: "95 % sure below", data: one.high, fill: "-1" });
      }
      sets.push({
        label: one.label, data: placed(spec, one.values), borderColor: colour("--accent"), backgroundColor: colour("--accent"),
        borderWidth: 2, pointRadius: spec.small ? 0 : 3, pointHitRadius: 8, tension: 0.2, spanGaps: true, maxBarThickness: 36,
      });
    }
    if (typeof spec.level === "number") {
      sets.push({
        label: "typical", data: placed(spec, spec.labels.map(() => spec.level)), borderColor: colour("--muted"), borderWidth: 1.5,
        borderDash: [5, 4], pointRadius: 0, pointHitRadius: 0,
      });
    }
    return sets;
  }

  function draw(canvas) {
    const spec = JSON.parse(canvas.dataset.chart);
    const ticks = { color: colour("--muted"), maxTicksLimit: spec.small ? 4 : 7, maxRotation: 0 };
    drawn.get(canvas)?.destroy();
    drawn.set(canvas, new Chart(canvas, {
      type: spec.kind || "line",
      data: { labels: spec.times ? undefined : spec.labels, datasets: datasets(spec) },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, interaction: { mode: "index", intersect: false },
        plugins: { legend: { display: false } },
        scales: {
          x: { type: spec.times ? "time" : "category", time: { tooltipFormat: "d MMM yyyy" }, grid: { display: false }, ticks, border: { color: colour("--line") } },
          y: { grid: { color: colour("--line") }, ticks, border: { display: false }, beginAtZero: spec.kind === "bar" },
        },
      },
    }));
  }

  function drawAll(within) {
    if (typeof Chart !== "undefined") within.querySelectorAll("canvas[data-chart]").forEach(draw);
  }

  document.addEventListener("DOMContentLoaded", () => drawAll(document));
  document.addEventListener("htmx:load", (event) => drawAll(event.detail.elt));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(document));

  // "/" goes to the search, as in many tools; never while somebody is writing.
  document.addEventListener("keydown", (event) => {
    const search = document.getElementById("q");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !search) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
})();

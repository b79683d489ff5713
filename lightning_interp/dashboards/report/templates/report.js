// SPDX-License-Identifier: Apache-2.0
// Draws figures as they come into view, and draws them again where a button, the theme or the width says so.
(function () {
  "use strict";

  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const state = { time: "log", values: "log", theme: "auto" };
  const figures = new Map();
  const NARROW = 560;
  const FEW_TICKS = 5;
  const config = {
    displaylogo: false,
    responsive: true,
    showSendToCloud: false,
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };

  const shownTheme = () => (state.theme === "auto" ? (dark.matches ? "dark" : "light") : state.theme);

  function thinned(ticks, narrow) {
    const every = narrow ? Math.ceil(ticks.tickvals.length / FEW_TICKS) : 1;
    const kept = (_, place) => place % every === 0;
    return { tickvals: ticks.tickvals.filter(kept), ticktext: ticks.ticktext.filter(kept) };
  }

  function layoutOf(div, layout) {
    const made = structuredClone(layout);
    const meta = made.meta || {};
    const narrow = div.clientWidth < NARROW;
    made.template = themes[shownTheme()];
    for (const name of meta.time_axes || []) {
      Object.assign(made[name], { type: state.time, autorange: true }, thinned(meta.ticks[state.time], narrow));
    }
    for (const name of meta.value_axes || []) {
      made[name].type = state.values;
    }
    if (narrow) {
      made.margin = Object.assign({}, made.margin, { l: 44, r: 6 });
      made.font = Object.assign({}, made.font, { size: 11 });
    }
    return made;
  }

  function draw(div) {
    if (!figures.has(div)) {
      const source = document.querySelector(`script[data-figure="${CSS.escape(div.id)}"]`);
      figures.set(div, JSON.parse(source.textContent));
    }
    const figure = figures.get(div);
    const bar = window.innerWidth < NARROW ? { displayModeBar: false } : {};
    return Plotly.react(div, figure.data, layoutOf(div, figure.layout), { ...config, ...bar });
  }

  function drawAll() {
    document.documentElement.dataset.theme = shownTheme();
    for (const div of figures.keys()) {
      draw(div);
    }
  }

  for (const button of document.querySelectorAll("button[data-set]")) {
    button.addEventListener("click", () => {
      state[button.dataset.set] = button.dataset.value;
      for (const each of button.parentElement.querySelectorAll("button")) {
        each.setAttribute("aria-pressed", String(each === button));
      }
      drawAll();
    });
  }
  dark.addEventListener("change", drawAll);

  let wide = window.innerWidth >= NARROW;
  window.addEventListener("resize", () => {
    if (wide !== window.innerWidth >= NARROW) {
      wide = !wide;
      drawAll();
    }
  });

  document.documentElement.dataset.theme = shownTheme();
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) {
          seen.unobserve(entry.target);
          draw(entry.target);
        }
      }
    },
    { rootMargin: "1500px" }
  );
  document.querySelectorAll(".figure").forEach((div) => seen.observe(div));
  window.addEventListener("beforeprint", () => document.querySelectorAll(".figure").forEach(draw));
})();

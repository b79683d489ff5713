// SPDX-License-Identifier: Apache-2.0
// What concerns the browser alone: which choice is pressed, the theme, the width of the window, and a server that is silent.
(function () {
  "use strict";

  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const narrow = window.matchMedia("(max-width: 640px)");
  const stay = () => window.dash_clientside.no_update;
  let theme = "auto";
  let paused = false;
  let answered = Date.now();

  // Theme and width as they come out; the theme chosen wins over the one of the system.
  function around() {
    const shown = theme === "auto" ? (dark.matches ? "dark" : "light") : theme;
    document.documentElement.dataset.theme = shown;
    return { theme: shown, narrow: narrow.matches };
  }

  function tellAround() {
    window.dash_clientside.set_props("around", { data: around() });
  }

  dark.addEventListener("change", tellAround);
  narrow.addEventListener("change", tellAround);

  function clicked() {
    const triggered = window.dash_clientside.callback_context.triggered;
    return triggered.length === 1 && triggered[0].value ? JSON.parse(triggered[0].prop_id.replace(/\.n_clicks$/, "")) : null;
  }

  // The new figure as the reader has zoomed the old one. Dash writes a zoom into the figure itself, where plotly's own way of
  // keeping it through an update (uirevision) no longer finds it.
  function zoomedLike(layout, shown) {
    const given = (shown.meta || {}).ranges || {};
    const zoomed = {};
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      const before = shown[name] || {};
      const sameScale = (layout[name].type || before.type) === before.type;
      const moved = before.autorange === false && JSON.stringify(before.range) !== JSON.stringify(given[name]);
      if (sameScale && moved) {
        zoomed[name] = Object.assign({}, layout[name], { range: before.range, autorange: false });
      }
    }
    return Object.assign({}, layout, zoomed);
  }

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    live: {
      choose() {
        const button = clicked();
        return button ? button.value : stay();
      },
      press(value, buttons) {
        for (const tab of document.querySelectorAll("[role=tab]")) {
          const own = JSON.parse(tab.id);
          if (own.control === buttons[0].control) {
            tab.tabIndex = own.value === value ? 0 : -1; // arrows lead to the others
          }
        }
        return buttons.map((button) => String(button.value === value));
      },
      pick(_clicks, buttons, checked) {
        const button = clicked();
        if (!button) {
          return [checked.map(stay), stay()];
        }
        const now = buttons.map((each, place) => (each.run === button.run) !== (checked[place] === "true"));
        return [now.map(String), buttons.filter((_, place) => now[place]).map((each) => each.run)];
      },
      redraw(sent) {
        for (const { id, figure } of sent) {
          const place = Object.keys(id).sort().map((key) => `${JSON.stringify(key)}:${JSON.stringify(id[key])}`);
          const graph = document.getElementById(`{${place.join(",")}}`);
          const drawn = graph && graph.querySelector(".js-plotly-plot");
          const layout = drawn && drawn.layout ? zoomedLike(figure.layout, drawn.layout) : figure.layout;
          window.dash_clientside.set_props(id, { figure: Object.assign({}, figure, { layout }) });
        }
      },
      around(value) {
        theme = value;
        return around();
      },
      pause(value) {
        paused = value === "off";
        answered = Date.now();
        document.getElementById("silent").hidden = true;
        return paused ? 0 : -1;
      },
      answered() {
        answered = Date.now();
      },
    },
  });

  // Tabs as a keyboard expects them: one stop, arrows move and choose.
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest && event.target.closest("[role=tab]");
    const moves = { ArrowLeft: -1, ArrowRight: 1, Home: "first", End: "last" };
    if (!tab || !(event.key in moves)) {
      return;
    }
    const tabs = [...tab.parentElement.querySelectorAll("[role=tab]")];
    const move = moves[event.key];
    const place = move === "first" ? 0 : move === "last" ? tabs.length - 1 : tabs.indexOf(tab) + move;
    const next = tabs[(place + tabs.length) % tabs.length];
    event.preventDefault();
    next.focus();
    next.click();
  });

  // A request that failed leaves the clock stopped: it is started again, in case the server has come back.
  window.setInterval(() => {
    const silent = document.getElementById("silent");
    if (!silent || paused || document.hidden) {
      return;
    }
    silent.hidden = Date.now() - answered < Number(silent.dataset.patienceMs);
    if (!silent.hidden) {
      window.dash_clientside.set_props("tick", { disabled: false });
    }
  }, 1000);
})();

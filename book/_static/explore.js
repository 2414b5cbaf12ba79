// The panels of the page "explore": menus over the numbers that the page holds, without a server.
document.addEventListener("DOMContentLoaded", () => {
  function element(name, attributes = {}, ...children) {
    const svg = ["svg", "g", "line", "circle", "path", "text", "title"].includes(name);
    const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function menu(label, change) {
    const select = element("select", { "aria-label": label });
    select.addEventListener("change", change);
    return {
      node: element("label", {}, `${label} `, select),
      get value() {
        return select.value;
      },
      offer(values) {
        const before = select.value;
        select.replaceChildren(...values.map((value) => element("option", { value }, value)));
        if (values.includes(before)) select.value = before;
      },
    };
  }

  const unique = (values) => [...new Set(values)];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const picture = (width, height, about) =>
    element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": about });

  for (const box of document.querySelectorAll(".explore")) {
    const data = JSON.parse(box.querySelector(".explore-data").textContent);
    box.replaceChildren(errorPanel(data.errors), forcePanel(data.forces));
  }

  function errorPanel(rows) {
    const holder = element("div");
    const draw = () => {
      const shown = rows.filter((row) => row.molecule === molecule.value && row.model === model.value);
      holder.replaceChildren(...errorPicture(shown));
    };
    const molecule = menu("molecule", () => {
      model.offer(unique(rows.filter((row) => row.molecule === molecule.value).map((row) => row.model)));
      draw();
    });
    const model = menu("model", draw);
    if (rows.length === 0) return element("p", {}, "No run is recorded.");
    molecule.offer(unique(rows.map((row) => row.molecule)));
    model.offer(unique(rows.filter((row) => row.molecule === molecule.value).map((row) => row.model)));
    draw();
    return element("div", { class: "explore-part" }, molecule.node, model.node, holder);
  }

  // Both axes are logarithmic. Small dots are trainings of one seed, a line joins their means.
  function errorPicture(rows) {
    const [width, height, left, bottom] = [640, 360, 60, 300];
    const about = "Test force error against the number of accurate labels, a line for each way of training.";
    const svg = picture(width, height + 22 * unique(rows.map((row) => row.way)).length, about);
    const labels = rows.map((row) => row.labels);
    const errors = rows.flatMap((row) => row.errors);
    const scale = (values, low, high) => {
      const [first, last] = [Math.log(Math.min(...values) / 1.15), Math.log(Math.max(...values) * 1.15)];
      return (value) => low + ((Math.log(value) - first) / (last - first)) * (high - low);
    };
    const x = scale(labels, left, width - 20);
    const y = scale(errors, bottom, 15);
    svg.append(
      element("path", { d: `M${left} 10V${bottom}H${width - 10}`, fill: "none", stroke: "currentColor" }),
      element("text", { x: (left + width) / 2, y: bottom + 42, "text-anchor": "middle" }, "accurate labels, all counted"),
      element("text", { transform: "translate(14 160) rotate(-90)", "text-anchor": "middle" }, "test force MAE [kcal/mol/Å]"),
    );
    let before = -Infinity;
    for (const tick of unique(labels).sort((a, b) => a - b)) {
      if (x(tick) - before < 34) continue;
      before = x(tick);
      svg.append(element("text", { x: before, y: bottom + 20, "text-anchor": "middle" }, `${tick}`));
    }
    const within = (digits) =>
      [-3, -2, -1, 0, 1, 2]
        .flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)))
        .filter((tick) => y(tick) >= 10 && y(tick) <= bottom);
    const fine = Array.from({ length: 90 }, (_, place) => (10 + place) / 10);
    const choices = [[1, 2, 5], [1, 1.5, 2, 3, 4, 5, 7], fine].map(within);
    const ticks = choices.find((found) => found.length > 1) ?? choices[2]; // of a narrow range many, not all named
    const step = Math.ceil(ticks.length / 8);
    for (const tick of ticks.filter((_, place) => place % step === 0))
      svg.append(
        element("line", { x1: left, x2: width - 10, y1: y(tick), y2: y(tick), stroke: "currentColor", opacity: 0.12 }),
        element("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, `${tick}`),
      );
    const colors = ["#0173b2", "#56b4e9", "#029e73", "#cc78bc", "#de8f05", "#949494"];
    let next = 0;
    unique(rows.map((row) => row.way)).forEach((way, place) => {
      const color = way.startsWith("accurate") ? "currentColor" : colors[next++ % colors.length];
      const part = rows.filter((row) => row.way === way).sort((a, b) => a.labels - b.labels);
      const line = part.map((row) => `${x(row.labels)} ${y(mean(row.errors))}`).join("L");
      svg.append(element("path", { d: `M${line}`, fill: "none", stroke: color, "stroke-width": 2 }));
      for (const row of part) {
        const text = `${way}\n${row.labels} accurate labels\n${row.errors.join(", ")} kcal/mol/Å`;
        for (const error of row.errors) {
          const dot = { cx: x(row.labels), cy: y(error), r: 4, fill: color, "fill-opacity": 0.6 };
          svg.append(element("g", { class: "value" }, element("circle", dot, element("title", {}, text))));
        }
      }
      const at = height + 22 * place;
      svg.append(
        element("line", { x1: left, x2: left + 24, y1: at - 4, y2: at - 4, stroke: color, "stroke-width": 3 }),
        element("text", { x: left + 32, y: at }, way),
      );
    });
    const header = ["way of training", "accurate labels", "errors by seed [kcal/mol/Å]"];
    const lines = rows.map((row) => [row.way, `${row.labels}`, row.errors.map((error) => error.toFixed(3)).join(", ")]);
    const table = [header, ...lines].map((cells, place) =>
      element("tr", {}, ...cells.map((cell) => element(place ? "td" : "th", {}, cell))),
    );
    const numbers = element("details", {}, element("summary", {}, "the numbers"), element("table", {}, ...table));
    return [svg, numbers];
  }

  function forcePanel(molecules) {
    const holder = element("div");
    const draw = () => holder.replaceChildren(...forcePicture(molecules[molecule.value], level.value));
    const molecule = menu("molecule", () => {
      level.offer(Object.keys(molecules[molecule.value].off));
      draw();
    });
    const level = menu("cheap level", draw);
    if (Object.keys(molecules).length === 0) return element("p", {}, "No molecule has forces of two levels.");
    molecule.offer(Object.keys(molecules));
    level.offer(Object.keys(molecules[molecule.value].off));
    draw();
    return element("div", { class: "explore-part" }, molecule.node, level.node, holder);
  }

  function forcePicture(molecule, level) {
    const [width, height] = [640, 380];
    const shown = [
      [molecule.accurate, "currentColor"],
      [level, "#de8f05"],
    ];
    const longest = Math.max(...shown.flatMap(([name]) => molecule.forces[name].map((force) => Math.hypot(...force))));
    const unit = 1.5 / longest; // Å of an arrow for 1 kcal/mol/Å
    const ends = molecule.atoms.flatMap(([, , , x, y], atom) => [
      [x, y],
      ...shown.map(([name]) => [x + unit * molecule.forces[name][atom][0], y + unit * molecule.forces[name][atom][1]]),
    ]);
    const [xs, ys] = [ends.map((end) => end[0]), ends.map((end) => end[1])];
    const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
    const spread = (values) => Math.max(...values) - Math.min(...values) + 1.2;
    const zoom = Math.min(width / spread(xs), height / spread(ys));
    const place = (x, y) => [width / 2 + zoom * (x - middle(xs)), height / 2 - zoom * (y - middle(ys))];
    const svg = picture(width, height, `Forces of ${molecule.accurate} and of ${level} on the atoms.`);
    for (const [x1, y1, x2, y2] of molecule.bonds) {
      const [[a, b], [c, d]] = [place(x1, y1), place(x2, y2)];
      svg.append(element("line", { x1: a, y1: b, x2: c, y2: d, stroke: "#8a8a8a", "stroke-width": 7 }));
    }
    for (const [symbol, color, radius, x, y] of molecule.atoms) {
      const [cx, cy] = place(x, y);
      svg.append(element("circle", { cx, cy, r: 0.4 * radius * zoom, fill: color, stroke: "#555" }));
    }
    for (const [name, color] of shown)
      molecule.atoms.forEach(([, , , x, y], atom) => {
        const [fx, fy] = molecule.forces[name][atom];
        const [[a, b], [c, d]] = [place(x, y), place(x + unit * fx, y + unit * fy)];
        const angle = Math.atan2(d - b, c - a);
        const head = [2.6, -2.6].map((turn) => `${c + 8 * Math.cos(angle + turn)} ${d + 8 * Math.sin(angle + turn)}`);
        const path = `M${a} ${b}L${c} ${d}M${head[0]}L${c} ${d}L${head[1]}`;
        svg.append(element("path", { d: path, fill: "none", stroke: color, "stroke-width": 2.5 }));
      });
    for (const [symbol, , , x, y] of molecule.atoms) {
      const [cx, cy] = place(x, y);
      const halo = { "paint-order": "stroke", stroke: "#fff", "stroke-width": 3, fill: "#222" };
      svg.append(element("text", { x: cx, y: cy + 5, "text-anchor": "middle", ...halo }, symbol));
    }
    const text =
      `Black (white on a dark page): ${molecule.accurate}; orange: ${level}. The longest arrow is ${longest.toFixed(0)} kcal/mol/Å. ` +
      `Over all frames that have both, ${level} is ${molecule.off[level].toFixed(2)} kcal/mol/Å off.`;
    return [svg, element("p", {}, text)];
  }
});

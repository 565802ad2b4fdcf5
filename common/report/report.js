// Draws the report from window.REPORT (assets/data.js). Whatever comes from records is put into the page as text.
"use strict";

(() => {
  const R = window.REPORT;
  const DASH = "–";
  // What is shown of a table, and of a wall of pictures, before somebody asks for all.
  const ROWS = 30;
  const PICTURES = 6;
  const $ = (id) => document.getElementById(id);

  // ---------------------------------------------------------------- elements

  /** Make an element. Attributes that are functions become listeners; null and false are left out; children are nodes or text. */
  function make(namespace, name, attributes, children) {
    const element = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
    for (const [key, value] of Object.entries(attributes ?? {})) {
      if (typeof value === "function") element.addEventListener(key, value);
      else if (key.startsWith("--")) element.style.setProperty(key, value);
      else if (value !== null && value !== undefined && value !== false) {
        element.setAttribute(key, value === true ? "" : value);
      }
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }
  const el = (name, attributes, ...children) => make(null, name, attributes, children);
  const svg = (name, attributes, ...children) => make("http://www.w3.org/2000/svg", name, attributes, children);

  const isNumber = (value) => typeof value === "number" && Number.isFinite(value);
  const percent = (value) => (isNumber(value) ? (100 * value).toFixed(2) : DASH);
  const grouped = (value) => value.toLocaleString("en-US");

  const modelName = (e) => `${e.title} ${e.variant}`;
  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const settings = (e) => (e.changed.length ? ` (${cut(e.changed.join(", "), 40)})` : "");
  const fullName = (e) => `${modelName(e)}${settings(e)} · ${e.protocol}`;
  const moment = (text) =>
    String(text)
      .replace("T", " ")
      .replace(/:\d\d\+00:00$/, " UTC");
  const shortId = (e) => e.id.slice(-10);

  /** Text in which `code` is marked as in Markdown. */
  const withCode = (text) => text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));

  // ---------------------------------------------------------------- tooltip

  const tip = $("tip");
  function showTip(target) {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const box = target.getBoundingClientRect();
    const left = box.left + box.width / 2 - tip.offsetWidth / 2;
    const above = box.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(4, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 4))}px`;
    tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
  }
  const hideTip = () => (tip.hidden = true);
  for (const [on, off] of [
    ["pointerover", "pointerout"],
    ["focusin", "focusout"],
  ]) {
    document.addEventListener(on, (event) => {
      const target = event.target.closest?.("[data-tip]");
      if (target) showTip(target);
    });
    document.addEventListener(off, hideTip);
  }
  document.addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
  document.addEventListener("scroll", hideTip, { capture: true, passive: true });

  // ---------------------------------------------------------------- small parts

  async function copy(text, button) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = el("textarea", { readonly: true, class: "offscreen" }, text);
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
      button.focus();
    }
    const label = button.textContent;
    button.textContent = done ? "copied" : "not copied";
    setTimeout(() => (button.textContent = label), 1500);
  }

  function copyButton(text, label = "copy") {
    const name = `Copy the command: ${text}`;
    return el(
      "button",
      { type: "button", class: "copy", "aria-label": name, click: (e) => copy(text, e.target) },
      label,
    );
  }

  const commandLine = (text) => el("div", { class: "command" }, el("code", {}, text), copyButton(text));

  const dataName = (e) => (e.markNames.includes("subset") ? `part of ${e.data}` : e.data);
  const markedData = (e) => [dataName(e), ...e.marks.map((m) => m.text)].join(", ");
  const marks = (e) => e.marks.map((m) => el("span", { class: "badge", "data-mark": m.name }, m.text));

  const recordLink = (e, text) => el("a", { href: e.record, "aria-label": `Record ${e.id}` }, text ?? shortId(e));

  /** A scrolling region that the keyboard reaches. */
  const scrolling = (label, ...children) =>
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, ...children);

  /** A select over [value, text, group] options; `change` gets the value. */
  function chooser(label, change) {
    const select = el("select", { change: () => change(select.value) });
    const fill = (options, wanted) => {
      const groups = new Map();
      for (const [value, text, group] of options) {
        groups.set(group, [...(groups.get(group) ?? []), el("option", { value }, text)]);
      }
      select.replaceChildren(
        ...[...groups].flatMap(([group, members]) => (group ? el("optgroup", { label: group }, ...members) : members)),
      );
      const values = options.map(([value]) => String(value));
      select.value = values.includes(String(wanted)) ? String(wanted) : (values[0] ?? "");
    };
    return { node: el("label", {}, `${label} `, select), select, fill };
  }

  /** The parts that the section cannot show, on one line that opens: what each is, and the commands to get it. */
  function missing(section) {
    const parts = R.missing.filter((m) => m.section === section);
    if (!parts.length) return [];
    const what = parts.length === 1 ? parts[0].what : `${parts.length} things are not here.`;
    return [
      el(
        "details",
        { class: "note", "aria-label": "Not here", open: !R.evaluations.length },
        el("summary", {}, ...withCode(what)),
        ...parts.flatMap((m) => [el("p", {}, ...withCode(`${m.what} ${m.how}`)), ...m.commands.map(commandLine)]),
      ),
    ];
  }

  // ---------------------------------------------------------------- the filter

  const filter = { text: [], reproduction: "", mark: "", listeners: [] };

  /** Whether a row passes the filter, by its words, its reproduction and the names of its marks. */
  function passes(words, reproduction, markNames) {
    if (filter.reproduction && filter.reproduction !== reproduction) return false;
    if (filter.mark === "none" ? markNames.length : filter.mark && !markNames.includes(filter.mark)) return false;
    const text = words.join(" ").toLowerCase();
    return filter.text.every((word) => text.includes(word));
  }

  R.evaluations.forEach((e, place) => {
    e.place = place;
    e.markNames = e.marks.map((m) => m.name);
    e.words = [fullName(e), e.reproduction, e.data, e.start ?? "", e.id, ...e.marks.map((m) => m.text)];
    e.shown = () => passes(e.words, e.reproduction, e.markNames);
  });

  function whenFiltered(draw) {
    filter.listeners.push(draw);
    draw();
  }

  function startFilter() {
    const form = $("filter");
    const names = [...new Set([...R.evaluations, ...R.published].map((e) => e.reproduction))].sort();
    form.elements.reproduction.append(...names.map((name) => el("option", { value: name }, name)));
    const known = new Set(R.evaluations.flatMap((e) => e.markNames));
    form.elements.mark.append(...[...known].sort().map((name) => el("option", { value: name }, name)));
    const update = () => {
      filter.text = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      filter.reproduction = form.elements.reproduction.value;
      filter.mark = form.elements.mark.value;
      const shown = R.evaluations.filter((e) => e.shown()).length;
      $("count").textContent = `${shown} of ${R.evaluations.length} evaluations`;
      filter.listeners.forEach((draw) => draw());
    };
    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(update));
    update();
  }

  // ---------------------------------------------------------------- tables

  /**
   * A table that sorts by a click on a head, and hides what the filter does.
   * columns: {title, value(row), cell(row), number, whole}; `value` sorts, `cell` gives what is shown (default: the
   * value), `whole` keeps it on one line, `kind` is a class of its cells.
   * options: caption, shown(row), detail(row) for a row that opens below, called(row) for its name.
   */
  function sortable(columns, rows, options) {
    const state = { column: null, down: false };
    const made = new Map(rows.map((row) => [row, makeRow(columns, row, options)]));
    const rest = beginning("rows", ROWS, () => draw());
    const heads = columns.map((column, i) =>
      el(
        "th",
        { scope: "col", role: "columnheader", class: column.number ? "number" : null },
        el("button", { type: "button", click: () => sortBy(i) }, column.title),
      ),
    );
    const body = el("tbody", { role: "rowgroup" });
    const nothing = el("p", { class: "nothing" }, rows.length ? "The filter hides every row." : "None yet.");
    // Roles are explicit: on a narrow screen the rows are cards, which the browser does not take for a table.
    const table = el(
      "table",
      { class: "cards", role: "table" },
      el("caption", {}, options.caption),
      el(
        "thead",
        { role: "rowgroup" },
        el("tr", { role: "row" }, options.detail ? el("td", { class: "opener", role: "cell" }) : null, ...heads),
      ),
      body,
    );
    const region = scrolling(options.caption, table);

    function sortBy(i) {
      state.down = state.column === i ? !state.down : Boolean(columns[i].number);
      state.column = i;
      draw();
    }

    function draw() {
      const visible = rows.filter(options.shown);
      if (state.column !== null) {
        const { value } = columns[state.column];
        const empty = (v) => v === null || v === undefined || v === "";
        visible.sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          if (empty(x) || empty(y)) return empty(x) - empty(y); // missing values stay below
          const order =
            isNumber(x) && isNumber(y) ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
          return state.down ? -order : order;
        });
      }
      heads.forEach((head, i) => {
        if (i === state.column) head.setAttribute("aria-sort", state.down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      });
      body.replaceChildren(...rest.of(visible).flatMap((row) => made.get(row)));
      region.hidden = !visible.length;
      nothing.hidden = Boolean(visible.length);
    }
    whenFiltered(draw);
    return el("div", {}, region, rest.button, nothing);
  }

  /** The first `most` of a list, and a button that shows the rest of it by `draw`. Paper shows all. */
  function beginning(what, most, draw) {
    let isAsked = false;
    let isPrinted = false;
    const ask = () => {
      isAsked = true;
      draw();
    };
    const button = el("button", { type: "button", class: "rest", click: ask });
    for (const event of ["beforeprint", "afterprint"]) {
      window.addEventListener(event, () => {
        isPrinted = event === "beforeprint";
        draw();
      });
    }
    const of = (list) => {
      button.hidden = isAsked || isPrinted || list.length <= most;
      button.textContent = `Show all ${list.length} ${what}`;
      return button.hidden ? list : list.slice(0, most);
    };
    return { of, button };
  }

  function makeRow(columns, row, { detail, called }) {
    const cells = columns.map((column, i) => {
      const shown = column.cell ? column.cell(row) : column.value(row);
      const content = shown === null || shown === undefined || shown === "" ? DASH : shown;
      const attributes = {
        class: column.number ? "number" : column.whole ? "whole" : (column.kind ?? null),
        "data-title": column.title,
        role: i ? "cell" : "rowheader",
        scope: i ? null : "row",
      };
      return el(i ? "td" : "th", attributes, ...[content].flat().map((c) => (isNumber(c) ? String(c) : c)));
    });
    if (!detail) return [el("tr", { role: "row" }, ...cells)];
    const below = el(
      "tr",
      { class: "detail", role: "row", hidden: true },
      el("td", { colspan: columns.length + 1, role: "cell" }, detail(row)),
    );
    const opener = el("button", {
      type: "button",
      class: "open",
      "aria-expanded": "false",
      "aria-label": `Details of ${called(row)}`,
      click: () => {
        below.hidden = !below.hidden;
        opener.setAttribute("aria-expanded", String(!below.hidden));
      },
    });
    return [el("tr", { role: "row" }, el("td", { class: "opener", role: "cell" }, opener), ...cells), below];
  }

  function detail(e) {
    return named([
      ["command", e.command ? commandLine(e.command) : null],
      ["record", recordLink(e, e.record)],
      ["checkpoint", `${e.checkpoint.path}, sha256 ${e.checkpoint.sha256}`],
      ["changed settings", e.changed.join(", ")],
      [
        "measured",
        [e.finished && moment(e.finished), e.commit && `commit ${e.commit}`, e.versions].filter(Boolean).join("; "),
      ],
    ]);
  }

  /** A list of [name, value] pairs, without those that have no value. */
  const named = (parts) =>
    el(
      "dl",
      { class: "parts" },
      ...parts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]),
    );

  const modelCell = (e) => [
    modelName(e),
    e.changed.length ? el("small", { title: e.changed.join(", ") }, cut(e.changed.join(", "), 60)) : null,
  ];

  function measured(id, caption, ofSample) {
    const rows = R.evaluations.filter((e) => e.markNames.includes("sample") === ofSample);
    const columns = [
      { title: "model", value: (e) => modelName(e), cell: modelCell },
      { title: "data", value: dataName, whole: true },
      { title: "pictures", value: (e) => e.images, number: true },
      { title: "protocol", value: (e) => e.protocol, kind: "protocol" },
      ofSample && { title: "untrained", value: (e) => e.untrained, cell: (e) => percent(e.untrained), number: true },
      { title: "mIoU", value: (e) => e.miou, cell: (e) => el("strong", {}, percent(e.miou)), number: true },
      { title: "pixel acc.", value: (e) => e.pixel_accuracy, cell: (e) => percent(e.pixel_accuracy), number: true },
      { title: "trained from", value: (e) => e.start },
      { title: "marks", value: (e) => e.markNames.join(" "), cell: marks },
      { title: "record", value: (e) => e.id, cell: (e) => recordLink(e) },
    ].filter(Boolean);
    const called = (e) => `${modelName(e)} ${shortId(e)}`;
    $(id).append(sortable(columns, rows, { caption, detail, called, shown: (e) => e.shown() }));
  }

  function publishedTable() {
    const ours = (p) => (p.ours === null ? null : R.evaluations[p.ours]);
    const signed = (v) => `${v < 0 ? "−" : "+"}${Math.abs(v).toFixed(2)}`;
    const columns = [
      { title: "model", value: (p) => p.model },
      { title: "data", value: (p) => p.data, whole: true },
      { title: "protocol", value: (p) => p.protocol, kind: "protocol" },
      {
        title: "paper",
        value: (p) => p.paper,
        number: true,
        cell: (p) => (p.paper === null ? null : p.paper.toFixed(2)),
      },
      {
        title: "repository",
        value: (p) => (p.repository === "-" ? null : p.repository),
        cell: (p) => p.repository === "-" ? DASH : p.repository,
      },
      {
        title: "ours",
        value: (p) => ours(p)?.miou,
        number: true,
        cell: (p) => (p.ours === null ? null : recordLink(ours(p), percent(ours(p).miou))),
      },
      {
        title: "difference",
        value: (p) => p.difference,
        number: true,
        cell: (p) => (p.ours === null ? null : signed(p.difference)),
      },
      { title: "source", value: (p) => p.source },
    ];
    const detail = (p) =>
      named([["ours needs", p.needs && el("span", {}, ...withCode(p.needs))], ["note", p.note]]);
    const called = (p) => `${p.model}, ${p.source}`;
    const words = (p) => [p.model, p.data, p.protocol, p.source, p.note, p.reproduction];
    const shown = (p) => passes(words(p), p.reproduction, []);
    $("published").append(sortable(columns, R.published, { caption: "Published numbers", detail, called, shown }));
  }

  function results() {
    $("results")
      .querySelector("h3")
      .before(...missing("results"));
    $("marks").append(
      ...R.marks.flatMap(([name, about]) => [
        el("dt", {}, el("span", { class: "badge", "data-mark": name }, name === "subset" ? "subset N" : name)),
        el("dd", {}, about),
      ]),
    );
    measured("real", "Measured on real pictures", false);
    measured("sample", "Sample runs", true);
    publishedTable();
  }

  // ---------------------------------------------------------------- heat map and confusion matrix

  // cividis, which looks alike with and without red-green blindness
  const CIVIDIS = ["00224e", "1a386f", "434e6c", "61656f", "7d7c78", "9b9476", "bcae6c", "dec958", "fee838"].map(
    (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)),
  );

  function cividis(value) {
    const place = Math.max(0, Math.min(1, value)) * (CIVIDIS.length - 1);
    const below = Math.min(Math.floor(place), CIVIDIS.length - 2);
    const colour = CIVIDIS[below].map((v, i) => Math.round(v + (place - below) * (CIVIDIS[below + 1][i] - v)));
    return { fill: `rgb(${colour})`, ink: value > 0.5 ? "#000" : "#fff" };
  }

  /** One stop of the Tab key for all cells of a table; arrow keys, Home and End move between them. */
  function withArrows(table) {
    const stops = () => [...table.tBodies[0].rows].map((row) => [...row.querySelectorAll("td[tabindex]")]);
    table.addEventListener("keydown", (event) => {
      const rows = stops();
      const y = rows.findIndex((row) => row.includes(event.target));
      if (y < 0) return;
      const x = rows[y].indexOf(event.target);
      const last = rows[y].length - 1;
      const [down, right] = {
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
        Home: [0, -x],
        End: [0, last - x],
      }[event.key] ?? [0, 0];
      const next = rows[y + down]?.[x + right];
      if (!(event.key in { ArrowUp: 1, ArrowDown: 1, ArrowLeft: 1, ArrowRight: 1, Home: 1, End: 1 })) return;
      event.preventDefault();
      if (!next) return;
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    });
    const first = table.querySelector("tbody td[tabindex]");
    if (first) first.tabIndex = 0;
    return table;
  }

  /** A cell; `name` is its column, which a narrow screen shows in the cell itself. */
  function cell(text, about, name, attributes) {
    return el("td", { tabindex: "-1", "data-tip": about, "aria-label": about, "data-title": name, ...attributes }, text);
  }

  /** The roles of a table, said aloud: on a narrow screen its rows wrap, which the browser does not take for one. */
  function withRoles(table) {
    const roles = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TH: "rowheader", TD: "cell" };
    for (const node of [table, ...table.querySelectorAll("thead, tbody, tr, th, td")]) {
      node.setAttribute("role", node.closest("thead") && node.tagName === "TH" ? "columnheader" : roles[node.tagName]);
    }
    return table;
  }

  const slanted = (name) => el("th", { scope: "col", class: "slanted" }, el("span", {}, name));

  function heatMap() {
    const host = $("heat");
    const only = el("input", { type: "checkbox", checked: true, change: () => draw() });
    const maps = el("div", {});
    const stops = CIVIDIS.map((c, i) => `rgb(${c}) ${(100 * i) / (CIVIDIS.length - 1)}%`).join(", ");
    host.append(
      el(
        "div",
        { class: "controls" },
        el("label", {}, only, " only classes that occur in a shown row"),
        el(
          "span",
          { class: "scale" },
          "0",
          el("span", { class: "ramp", "--ramp": `linear-gradient(90deg, ${stops})` }),
          "100 % IoU",
        ),
        el("span", { class: "scale" }, el("span", { class: "absent swatch" }), "does not occur in the labels"),
      ),
      maps,
    );

    function draw() {
      const groups = new Map(); // data sets have classes of their own
      for (const e of R.evaluations.filter((one) => one.shown())) {
        const key = e.classes.join("\n");
        groups.set(key, [...(groups.get(key) ?? []), e]);
      }
      maps.replaceChildren(...[...groups.values()].map(one));
      if (!groups.size)
        maps.append(el("p", { class: "nothing" }, R.evaluations.length ? "The filter hides every row." : "None yet."));
    }

    function one(rows) {
      const columns = rows[0].classes
        .map((_, i) => i)
        .filter((i) => !only.checked || rows.some((e) => isNumber(e.iou[i])));
      const table = el(
        "table",
        { class: "matrix" },
        el("caption", {}, "IoU by class, per cent"),
        el(
          "thead",
          {},
          el("tr", {}, el("td", {}), slanted("mIoU"), ...columns.map((i) => slanted(rows[0].classes[i]))),
        ),
        el(
          "tbody",
          {},
          ...rows.map((e) =>
            el(
              "tr",
              {},
              el("th", { scope: "row" }, modelName(e), el("small", {}, `${e.protocol}, ${markedData(e)}${settings(e)}`)),
              value(e, "mIoU", e.miou, "mean"),
              ...columns.map((i) => value(e, e.classes[i], e.iou[i])),
            ),
          ),
        ),
      );
      return scrolling("IoU by class", withArrows(withRoles(table)));
    }

    function value(e, what, iou, kind) {
      const about = `${modelName(e)}, ${what}: `;
      if (!isNumber(iou)) return cell("", `${about}does not occur in the labels`, what, { class: "absent" });
      const { fill, ink } = cividis(iou);
      return cell((100 * iou).toFixed(0), `${about}${percent(iou)} %`, what, { class: kind, "--fill": fill, "--ink": ink });
    }
    whenFiltered(draw);
  }

  function confusion() {
    const place = el("div", {});
    const pick = chooser("Evaluation", draw);
    $("matrix").append(el("div", { class: "controls" }, pick.node), place);

    function draw() {
      const e = R.evaluations[pick.select.value];
      if (!e) {
        place.replaceChildren(
          el("p", { class: "nothing" }, R.evaluations.length ? "The filter hides every evaluation." : "None yet."),
        );
        return;
      }
      const { classes, counts, elsewhere } = e.confusion;
      const others = elsewhere.some((n) => n > 0);
      const names = classes.map((i) => e.classes[i]);
      const columns = others ? [...names, "all other classes"] : names;
      const table = el(
        "table",
        { class: "matrix confusion" },
        el("caption", {}, `${fullName(e)}, ${e.protocol}, ${markedData(e)}: share of a label's pixels by prediction, per cent`),
        el("thead", {}, el("tr", {}, el("td", {}, "label ↓ prediction →"), ...columns.map(slanted))),
        el(
          "tbody",
          {},
          ...names.map((name, y) => {
            const row = others ? [...counts[y], elsewhere[y]] : counts[y];
            const total = counts[y].reduce((a, b) => a + b, 0) + elsewhere[y];
            return el(
              "tr",
              {},
              el("th", { scope: "row" }, name),
              ...row.map((n, x) => {
                const share = n / total;
                const about = `${name} predicted as ${columns[x]}: ${grouped(n)} of ${grouped(total)} pixels, ${percent(share)} %`;
                const text = n === 0 ? "" : share < 0.0005 ? "·" : (100 * share).toFixed(share < 0.0995 ? 1 : 0);
                // The square root lets small confusions be seen.
                return cell(text, about, columns[x], {
                  class: x === y ? "hit" : null,
                  "--share": `${(100 * Math.sqrt(share)).toFixed(1)}%`,
                  "data-deep": share > 0.35,
                });
              }),
            );
          }),
        ),
      );
      place.replaceChildren(scrolling("Confusion matrix", withArrows(withRoles(table))));
    }

    whenFiltered(() => {
      const shown = R.evaluations.filter((e) => e.shown());
      pick.fill(
        shown.map((e) => [e.place, `${fullName(e)} · ${shortId(e)}`, e.data]),
        pick.select.value,
      );
      draw();
    });
  }

  // ---------------------------------------------------------------- curves

  const COLOURS = 8;
  const DASHES = ["none", "7 3", "2 3", "9 3 2 3"];

  function ticks(low, high, count) {
    const rough = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-9); i++) found.push(i * step);
    return found;
  }

  function logTicks(low, high) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
      for (const m of [1, 2, 5]) found.push(m * 10 ** power);
    }
    const inside = found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
    return inside.length > 7 ? inside.filter((v) => Math.abs(Math.log10(v) % 1) < 1e-9) : inside;
  }

  const figure = (value) =>
    value === 0
      ? "0"
      : Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5
        ? value.toExponential(1).replace(".0e", "e")
        : String(Number(value.toPrecision(4)));

  /** A line chart; lines: {name, colour, x, y}, `log` for the vertical axis. Hover or arrow keys read the values. */
  function chart(title, lines, options) {
    const host = el("figure", { class: "chart", "--width": `${options.width}px` });
    const drawn = lines
      .map((line) => ({
        ...line,
        points: line.x.map((x, i) => [x, line.y[i]]).filter(([, y]) => isNumber(y) && (!options.log || y > 0)),
      }))
      .filter((line) => line.points.length);
    if (!drawn.length) {
      host.append(el("figcaption", {}, title), el("p", { class: "nothing" }, options.empty));
      return host;
    }
    const [width, height] = [options.width, 260];
    const pad = { left: 56, right: 12, top: 10, bottom: 34 };
    const xs = drawn.flatMap((line) => line.points.map(([x]) => x));
    const ys = drawn.flatMap((line) => line.points.map(([, y]) => y));
    const [x0, x1] = [Math.min(...xs), Math.max(Math.min(...xs) + 1, ...xs)];
    let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
    if (options.log) [y0, y1] = [y0 / 1.1, y1 * 1.1];
    else [y0, y1] = [Math.min(0, y0), y1 * 1.05 || 1];
    const up = options.log ? Math.log10 : (v) => v;
    const px = (x) => pad.left + ((x - x0) / (x1 - x0)) * (width - pad.left - pad.right);
    const py = (y) => height - pad.bottom - ((up(y) - up(y0)) / (up(y1) - up(y0))) * (height - pad.top - pad.bottom);

    const grid = svg("g", { class: "grid" });
    for (const y of options.log ? logTicks(y0, y1) : ticks(y0, y1, 5)) {
      grid.append(
        svg("line", { x1: pad.left, x2: width - pad.right, y1: py(y), y2: py(y) }),
        svg(
          "text",
          { x: pad.left - 7, y: py(y) + 4, "text-anchor": "end" },
          options.unit ? options.unit(y) : figure(y),
        ),
      );
    }
    for (const x of ticks(x0, x1, Math.max(5, Math.floor(width / 75)))) {
      grid.append(
        svg("line", { x1: px(x), x2: px(x), y1: pad.top, y2: height - pad.bottom }),
        svg("text", { x: px(x), y: height - pad.bottom + 16, "text-anchor": "middle" }, figure(x)),
      );
    }
    grid.append(svg("text", { x: width - pad.right, y: height - 3, "text-anchor": "end" }, "step"));
    const paths = drawn.map((line) => {
      const places = line.points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`);
      const dots =
        line.points.length <= 40 ? line.points.map(([x, y]) => svg("circle", { cx: px(x), cy: py(y), r: 2.5 })) : [];
      return svg(
        "g",
        { class: "line", "--colour": `var(--c${line.colour % COLOURS})` },
        svg("polyline", {
          points: places.join(" "),
          "stroke-dasharray": DASHES[Math.floor(line.colour / COLOURS) % DASHES.length],
        }),
        ...dots,
      );
    });
    const cursor = svg("line", { class: "cursor", y1: pad.top, y2: height - pad.bottom, visibility: "hidden" });
    const about = drawn
      .map((line) => {
        const [first, last] = [line.points[0], line.points[line.points.length - 1]];
        return `${line.name} from ${figure(first[1])} at step ${first[0]} to ${figure(last[1])} at step ${last[0]}`;
      })
      .join("; ");
    const picture = svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": `${title}. ${about}` },
      grid,
      ...paths,
      cursor,
    );
    const reading = el("p", { class: "reading", "aria-live": "polite" }, "\u00a0");
    host.append(el("figcaption", {}, title), picture, reading);

    const steps = [...new Set(xs)].sort((a, b) => a - b);
    let at = -1;
    function read(i) {
      at = Math.max(0, Math.min(steps.length - 1, i));
      const step = steps[at];
      cursor.setAttribute("x1", px(step));
      cursor.setAttribute("x2", px(step));
      cursor.setAttribute("visibility", "visible");
      const running = drawn.filter(({ points }) => points[0][0] <= step && step <= points[points.length - 1][0]);
      const values = running.map((line) => {
        const near = line.points.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));
        return el(
          "span",
          {},
          swatch(line.colour),
          el("span", { class: "offscreen" }, `${line.name} `),
          options.unit ? options.unit(near[1]) : figure(near[1]),
        );
      });
      reading.replaceChildren(el("span", {}, `step ${step}: `), ...values);
    }
    picture.addEventListener("pointermove", (event) => {
      const box = picture.getBoundingClientRect();
      const x =
        x0 +
        (((event.clientX - box.left) * (width / box.width) - pad.left) / (width - pad.left - pad.right)) * (x1 - x0);
      read(steps.reduce((best, step, i) => (Math.abs(step - x) < Math.abs(steps[best] - x) ? i : best), 0));
    });
    picture.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[
        event.key
      ];
      if (move === undefined) return;
      event.preventDefault();
      read(at < 0 && Number.isFinite(move) ? 0 : at + move);
    });
    return host;
  }

  const swatch = (colour) =>
    svg(
      "svg",
      { class: "key", viewBox: "0 0 26 10", "aria-hidden": "true" },
      svg(
        "g",
        { class: "line", "--colour": `var(--c${colour % COLOURS})` },
        svg("line", {
          x1: 0,
          x2: 26,
          y1: 5,
          y2: 5,
          "stroke-dasharray": DASHES[Math.floor(colour / COLOURS) % DASHES.length],
        }),
      ),
    );

  function curves() {
    const host = $("curves");
    host.before(...missing("training"));
    if (!R.runs.length) {
      host.append(el("p", { class: "nothing" }, "No training run is here."));
      return;
    }
    const runs = R.runs.map((run, colour) => ({
      ...run,
      colour,
      on: true,
      shown: () => run.evaluations.some((place) => R.evaluations[place].shown()),
    }));
    const loss = chooser("Loss", () => draw());
    loss.fill([
      ["pixel_loss", "of the pixels"],
      ["loss", "with weight decay"],
    ]);
    const score = chooser("Score", () => draw());
    score.fill([
      ["miou", "mIoU"],
      ["pixel_accuracy", "pixel accuracy"],
    ]);
    const legend = el("fieldset", { class: "legend" }, el("legend", {}, "Runs"));
    const charts = el("div", { class: "charts" });
    const thinned = runs.filter((run) => run.every > 1);
    host.append(el("div", { class: "controls" }, loss.node, score.node), legend, charts);
    if (thinned.length) {
      const most = Math.max(...thinned.map((run) => run.every));
      host.append(el("p", { class: "small" }, `Long curves are thinned: each point is the mean of up to ${most} steps.`));
    }

    function draw() {
      const shown = runs.filter((run) => run.shown());
      legend.replaceChildren(
        legend.firstChild,
        ...shown.map((run) =>
          el(
            "label",
            {},
            el("input", {
              type: "checkbox",
              checked: run.on,
              change: (event) => {
                run.on = event.target.checked;
                drawCharts();
              },
            }),
            swatch(run.colour),
            ` ${run.model} `,
            el("small", {}, run.folder),
          ),
        ),
      );
      drawCharts();
    }

    function drawCharts() {
      const on = runs.filter((run) => run.shown() && run.on);
      const line = (y) => on.map((run) => ({ name: run.model, colour: run.colour, x: run.step, y: run[y] }));
      const validated = on.map((run) => ({
        name: run.model,
        colour: run.colour,
        x: run.validation.step,
        y: run.validation[score.select.value],
      }));
      const room = charts.clientWidth || 640;
      const width = room > 760 ? (room - 24) / 2 : room;
      const percent = (v) => String(Number((100 * v).toPrecision(3)));
      const scored = score.select.selectedOptions[0] ? score.select.selectedOptions[0].textContent : "mIoU";
      const none = runs.length ? "No run is chosen." : "None yet.";
      charts.replaceChildren(
        chart(
          loss.select.selectedOptions[0] ? `Loss, ${loss.select.selectedOptions[0].textContent}` : "Loss",
          line(loss.select.value),
          { log: true, width, empty: none },
        ),
        chart("Learning rate", line("learning_rate"), { width, empty: none }),
        chart(`Training batches: ${scored}, per cent`, line(score.select.value), {
          width,
          unit: percent,
          empty: "Not in the logs of these runs.",
        }),
        chart(`Validation pictures: ${scored}, per cent`, validated, {
          width,
          unit: percent,
          empty: "Not measured in these runs; --set validation_interval=N measures it every N steps.",
        }),
      );
    }
    whenFiltered(draw);
    let last = charts.clientWidth;
    new ResizeObserver(() => {
      if (charts.clientWidth !== last) {
        last = charts.clientWidth;
        drawCharts();
      }
    }).observe(charts);
  }

  // ---------------------------------------------------------------- speed and memory

  /** A figure with a bar for its share of the largest one. */
  function bar(value, largest, text) {
    if (!isNumber(value)) return el("span", { class: "unknown" }, "not recorded");
    return el("span", { class: "bar-cell", "--part": `${((100 * value) / largest).toFixed(1)}%` }, text);
  }

  function speed() {
    const host = $("speeds");
    const perPicture = (e) => (isNumber(e.seconds) && e.images ? e.seconds / e.images : null);
    const most = (value) => Math.max(...R.evaluations.map((e) => value(e) ?? 0), 1e-9);
    const [slowest, largest] = [most(perPicture), most((e) => e.peak_memory_mib)];
    const columns = [
      { title: "model", value: modelName, cell: modelCell },
      { title: "protocol", value: (e) => e.protocol, kind: "protocol" },
      { title: "data", value: markedData },
      { title: "pictures", value: (e) => e.images, number: true },
      {
        title: "s a picture",
        value: perPicture,
        number: true,
        cell: (e) => bar(perPicture(e), slowest, perPicture(e)?.toFixed(3)),
      },
      { title: "s in all", value: (e) => e.seconds, number: true },
      {
        title: "peak MiB",
        value: (e) => e.peak_memory_mib,
        number: true,
        cell: (e) => bar(e.peak_memory_mib, largest, isNumber(e.peak_memory_mib) ? grouped(e.peak_memory_mib) : null),
      },
      { title: "cores", value: (e) => e.cores, number: true },
      { title: "processor", value: (e) => e.cpu },
    ];
    host.append(
      ...missing("speed"),
      el("h3", {}, "Evaluation"),
      el(
        "p",
        {},
        "Seconds a picture: the time from loading the network to the last picture, divided by the pictures. With few pictures the start takes most of it. ",
        "Peak memory is that of the process so far, so it can only grow over evaluations that share one process (",
        el("code", {}, "reproduce"),
        ").",
      ),
      sortable(columns, R.evaluations, { caption: "Evaluation: speed and memory", shown: (e) => e.shown() }),
    );

    const slowestStep = Math.max(...R.runs.map((run) => run.seconds ?? 0), 1e-9);
    host.append(
      el("h3", {}, "Training"),
      sortable(
        [
          { title: "run", value: (run) => run.model, cell: (run) => [run.model, el("small", {}, run.folder)] },
          { title: "steps", value: (run) => run.last_step, number: true },
          { title: "batch", value: (run) => run.batch_size, number: true },
          {
            title: "crop",
            value: (run) => run.crop_size?.[0],
            number: true,
            cell: (run) => run.crop_size?.join(" × "),
          },
          {
            title: "seconds a step (median)",
            value: (run) => run.seconds,
            number: true,
            cell: (run) => bar(run.seconds, slowestStep, run.seconds?.toFixed(3)),
          },
        ],
        R.runs,
        { caption: "Training: speed", shown: (run) => run.evaluations.some((place) => R.evaluations[place].shown()) },
      ),
    );

    if (R.bench) {
      host.append(
        el("h3", {}, "Bench"),
        el("p", {}, R.bench.about.join("; ")),
        el(
          "div",
          { class: "bench" },
          ...R.bench.groups.map(([name, figures]) =>
            el(
              "table",
              {},
              el("caption", {}, name),
              el(
                "tbody",
                {},
                ...figures.map(([what, value]) =>
                  el(
                    "tr",
                    {},
                    el("th", { scope: "row" }, what),
                    el("td", { class: "number" }, typeof value === "object" ? JSON.stringify(value) : String(value)),
                  ),
                ),
              ),
            ),
          ),
        ),
      );
    }
  }

  // ---------------------------------------------------------------- gallery

  function gallery() {
    const host = $("pictures");
    host.before(...missing("gallery"));
    const titles = R.galleries.map((g) => g.title);
    const others = Object.keys(R.extremes).filter((at) => !titles.includes(R.evaluations[at].data));
    if (!R.galleries.length) host.append(el("p", { class: "nothing" }, "No evaluation with label maps is here."));
    else galleriesOf(host);
    if (others.length) host.append(extremes(others, null, () => {}));
  }

  function galleriesOf(host) {
    const place = el("div", {});
    const made = [];
    const open = (i) => place.replaceChildren((made[i] ??= oneGallery(R.galleries[i])));
    const pick = chooser("Data", open);
    pick.fill(R.galleries.map((g, i) => [i, g.title]));
    const opacity = el("input", {
      type: "range",
      min: "0",
      max: "100",
      value: "75",
      input: () => host.style.setProperty("--opacity", opacity.value / 100),
    });
    host.style.setProperty("--opacity", 0.75);
    host.append(
      el(
        "div",
        { class: "controls" },
        R.galleries.length > 1 ? pick.node : null,
        el("label", {}, "Opacity of label maps ", opacity),
      ),
      place,
    );
    open(0);
  }

  function oneGallery(g) {
    const viewer = makeViewer(g);
    const places = Object.keys(R.extremes).filter((at) => R.evaluations[at].data === g.title);
    return el("div", {}, viewer.node, extremes(places, g, viewer.show), sideBySide(g, viewer.show));
  }

  /** A picture with a label map laid over it; `map` null is the picture alone. */
  function layered(picture, map, about) {
    const size = { width: picture.size[0], height: picture.size[1], loading: "lazy", draggable: "false" };
    return el(
      "span",
      { class: "layers", "--ratio": `${picture.size[0]} / ${picture.size[1]}`, role: "img", "aria-label": about },
      el("img", { src: picture.image, alt: "", ...size }),
      map ? el("img", { src: map, alt: "", class: "map", ...size }) : null,
    );
  }

  const LABEL = "label";
  const PICTURE = "picture";
  const mapOf = (picture, choice) => (choice === LABEL ? picture.label : (picture.maps[choice] ?? null));
  const choiceName = (choice) => (choice === LABEL || choice === PICTURE ? choice : fullName(R.evaluations[choice]));

  function makeViewer(g) {
    const withMaps = g.evaluations.map(String);
    const state = { at: 0, left: withMaps[0], right: withMaps[1] ?? LABEL };
    const options = [
      [LABEL, "label"],
      [PICTURE, "picture alone"],
      ...withMaps.map((place) => [
        place,
        `${fullName(R.evaluations[place])} · ${shortId(R.evaluations[place])}`,
        "models",
      ]),
    ];
    const which = chooser("Picture", (value) => show(Number(value)));
    which.fill(g.pictures.map((p, i) => [i, p.name]));
    const left = chooser("Left", (value) => show(state.at, value, state.right));
    const right = chooser("Right", (value) => show(state.at, state.left, value));
    left.fill(options, state.left);
    right.fill(options, state.right);
    const step = (by) =>
      el(
        "button",
        {
          type: "button",
          "aria-label": by < 0 ? "Previous picture" : "Next picture",
          click: () => show((state.at + by + g.pictures.length) % g.pictures.length),
        },
        by < 0 ? "‹" : "›",
      );

    const slider = el("input", {
      type: "range",
      class: "slider",
      min: "0",
      max: "100",
      value: "50",
      "aria-label": "Boundary between left and right",
      input: () => slide(),
    });
    const stage = el("div", { class: "stage" });
    const beside = el("div", { class: "beside" });
    const names = el("div", { class: "names" });
    const legend = el("ul", { class: "classes" });
    const node = el(
      "div",
      { class: "viewer" },
      el("h3", {}, "Two models and the label"),
      el("div", { class: "controls" }, which.node, step(-1), step(1)),
      el(
        "div",
        { class: "panes" },
        el("div", { class: "compare" }, el("div", { class: "sides" }, left.node, right.node), stage, slider, names),
        el("div", { class: "context" }, beside, legend),
      ),
    );

    function slide() {
      stage.style.setProperty("--cut", `${slider.value}%`);
      slider.setAttribute("aria-valuetext", `${slider.value} % left`);
    }
    function drag(event) {
      if (event.type === "pointerdown") stage.setPointerCapture(event.pointerId);
      else if (!stage.hasPointerCapture(event.pointerId)) return;
      const box = stage.getBoundingClientRect();
      slider.value = Math.round((100 * (event.clientX - box.left)) / box.width);
      slide();
    }
    stage.addEventListener("pointerdown", drag);
    stage.addEventListener("pointermove", drag);

    function side(choice, kind) {
      const picture = g.pictures[state.at];
      const layer = layered(
        picture,
        choice === PICTURE ? null : mapOf(picture, choice),
        `${kind}: ${choiceName(choice)}`,
      );
      layer.classList.add(kind);
      return layer;
    }
    function show(at, leftChoice = state.left, rightChoice = state.right) {
      Object.assign(state, { at, left: String(leftChoice), right: String(rightChoice) });
      const picture = g.pictures[at];
      which.select.value = String(at);
      left.select.value = state.left;
      right.select.value = state.right;
      stage.style.setProperty("--ratio", `${picture.size[0]} / ${picture.size[1]}`);
      stage.replaceChildren(side(state.right, "right"), side(state.left, "left"), el("span", { class: "divider" }));
      const described = (choice) => {
        const miou = picture.miou[choice];
        const unseen = choice !== PICTURE && !mapOf(picture, choice);
        return [
          el("span", {}, choiceName(choice)),
          isNumber(miou) ? el("b", {}, `mIoU here ${percent(miou)}`) : null,
          unseen ? el("b", {}, "not evaluated on this picture") : null,
        ];
      };
      names.replaceChildren(el("p", {}, ...described(state.left)), el("p", {}, ...described(state.right)));
      beside.replaceChildren(
        el("figure", {}, layered(picture, null, `picture ${picture.name}`), el("figcaption", {}, "picture")),
        el("figure", {}, layered(picture, picture.label, "label"), el("figcaption", {}, "label")),
      );
      const painted = picture.present.filter((i) => i || g.colours[0] !== "#000000"); // a black background is not drawn
      legend.replaceChildren(
        ...painted.map((i) =>
          el("li", {}, el("span", { class: "swatch", "--fill": g.colours[i] ?? "#000" }), g.classes[i]),
        ),
      );
      slide();
    }
    if (g.pictures.length) show(0);
    return {
      node,
      show: (at, leftChoice, rightChoice) => {
        show(at, leftChoice, rightChoice);
        node.scrollIntoView({ block: "nearest" });
      },
    };
  }

  /** The worst and best pictures of each class in one evaluation, where the gallery `g` has them. */
  function extremes(places, g, show) {
    const table = el("div", {});
    const pick = chooser("Evaluation", draw);
    const positions = new Map((g?.pictures ?? []).map((p, i) => [p.name, i]));
    const node = el(
      "div",
      { class: "extremes" },
      el("h3", {}, "Worst and best pictures of each class"),
      el("p", {}, "Sorted by the class's IoU in pictures whose label holds the class; label left, prediction right."),
      el("div", { class: "controls" }, pick.node),
      table,
    );

    function end([name, iou], e, className) {
      const at = positions.get(name);
      const caption = el("span", { class: "caption" }, el("b", {}, percent(iou)), ` ${name}`);
      if (at === undefined)
        return el("span", { class: "end" }, el("span", { class: "nothing" }, "not in this report"), caption);
      const picture = g.pictures[at];
      return el(
        "button",
        {
          type: "button",
          class: "end",
          "aria-label": `${className} IoU ${percent(iou)} in ${name}: compare`,
          click: () => show(at, e.place in picture.maps ? e.place : PICTURE, LABEL),
        },
        el(
          "span",
          { class: "pair" },
          layered(picture, picture.label, "label"),
          layered(picture, mapOf(picture, e.place), "prediction"),
        ),
        caption,
      );
    }
    function draw() {
      const e = R.evaluations[pick.select.value];
      if (!e) {
        table.replaceChildren(el("p", { class: "nothing" }, "The filter hides every evaluation."));
        return;
      }
      table.replaceChildren(
        scrolling(
          "Worst and best pictures",
          el(
            "table",
            { class: "ends" },
            el("caption", {}, `${fullName(e)}, ${e.data}`),
            el("thead", {}, el("tr", {}, ...["class", "worst", "best"].map((h) => el("th", { scope: "col" }, h)))),
            el(
              "tbody",
              {},
              ...R.extremes[e.place].map((found) => {
                const name = e.classes[found.class];
                return el(
                  "tr",
                  {},
                  el(
                    "th",
                    { scope: "row" },
                    name,
                    el("small", {}, `${found.pictures} picture${found.pictures > 1 ? "s" : ""}`),
                  ),
                  ...["worst", "best"].map((kind) =>
                    el("td", {}, el("div", { class: "row" }, ...found[kind].map((one) => end(one, e, name)))),
                  ),
                );
              }),
            ),
          ),
        ),
      );
    }
    whenFiltered(() => {
      const shown = places.map((place) => R.evaluations[place]).filter((e) => e.shown());
      pick.fill(
        shown.map((e) => [e.place, `${fullName(e)} · ${shortId(e)}`]),
        pick.select.value,
      );
      draw();
    });
    return node;
  }

  function sideBySide(g, show) {
    const place = el("div", {});
    const rest = beginning("pictures", PICTURES, () => draw());
    const part = g.pictures.length < g.total ? `, ${g.pictures.length} of ${g.total} pictures` : "";
    function draw() {
      const shown = g.evaluations.map((i) => R.evaluations[i]).filter((e) => e.shown());
      place.replaceChildren(
        scrolling(
          "All models side by side",
          withRoles(el(
            "table",
            { class: "wall" },
            el("caption", {}, `${g.title}${part}: below each map its mIoU over the picture's classes; click a map to compare it`),
            el(
              "thead",
              {},
              el(
                "tr",
                {},
                ...["picture", "label"].map((h) => el("th", { scope: "col" }, h)),
                ...shown.map((e) =>
                  el("th", { scope: "col" }, modelName(e), el("small", {}, e.protocol + settings(e))),
                ),
              ),
            ),
            el(
              "tbody",
              {},
              ...rest.of(g.pictures).map((picture, at) =>
                el(
                  "tr",
                  {},
                  el("th", { scope: "row" }, layered(picture, null, picture.name), el("small", {}, picture.name)),
                  el("td", { "data-title": "label" }, layered(picture, picture.label, "label")),
                  ...shown.map((e) =>
                    el(
                      "td",
                      { "data-title": `${modelName(e)}, ${e.protocol}` },
                      picture.maps[e.place]
                        ? el(
                            "button",
                            {
                              type: "button",
                              "aria-label": `Compare ${modelName(e)} on ${picture.name} with the label`,
                              click: () => show(at, e.place, LABEL),
                            },
                            layered(picture, picture.maps[e.place], modelName(e)),
                            el("small", {}, percent(picture.miou[e.place])),
                          )
                        : el("span", { class: "nothing" }, "none"),
                    ),
                  ),
                ),
              ),
            ),
          )),
        ),
      );
    }
    whenFiltered(draw);
    return el("div", {}, el("h3", {}, "All models side by side"), place, rest.button);
  }

  // ---------------------------------------------------------------- all of it

  const pictures = new Set(R.galleries.flatMap((g) => g.pictures.map((p) => `${g.title}/${p.name}`))).size;
  $("summary").textContent = R.evaluations.length
    ? `${R.evaluations.length} evaluations, ${R.runs.length} training runs and ${pictures} pictures; the newest record is of ${moment(R.newest)}.`
    : "No evaluation has been recorded yet.";
  startFilter();
  results();
  heatMap();
  confusion();
  curves();
  speed();
  gallery();
})();

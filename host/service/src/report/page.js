"use strict";
// Texts come from AWS, Port and plugins: they only become text nodes and attributes.
(() => {
  const $ = (id) => document.getElementById(id);
  const STATES = {
    f: { name: "failed", mark: "✗" },
    r: { name: "running", mark: "▸" },
    q: { name: "queued", mark: "·" },
    s: { name: "skipped", mark: "–" },
    c: { name: "complete", mark: "✓" },
  };
  // A cell shows the worst state of its units.
  const WORST = ["f", "r", "q", "s", "c"];
  const ABOUT = {
    resync: ["failed", "resync"], account: ["failed", "account"], failed: ["failed", "failed"],
    refused: ["failed", "entity refused"], deletion: ["failed", "not deleted"], "held-back": ["failed", "deletions skipped"],
    plugin: ["failed", "plugin refused"], resource: ["failed", "resource"], mistake: ["failed", "mapping"],
    waiting: ["failed", "waits for a decision"], skipped: ["skipped", "skipped"], mapping: ["skipped", "mapping"],
    kept: ["skipped", "kept"], dependent: ["skipped", "deletion"],
  };
  const OUTCOMES = {
    done: ["complete", "✓", "Done"], partial: ["failed", "✗", "Done in part"],
    "nothing-read": ["failed", "✗", "Nothing could be read"], "deletions-held-back": ["skipped", "–", "Deletions wait for a decision", "Waiting"],
    aborted: ["skipped", "–", "Stopped"], "not-begun": ["failed", "✗", "Could not start"],
    "deleted-in-port": ["failed", "✗", "The data source was deleted in Port", "Deleted in Port"],
  };
  const ROWS = 250;
  const PLUGINS = 12;
  const TROUBLES = 25;

  let view = null;
  let received = 0;
  let layout = { accounts: [], places: [], kinds: [] };
  let cells = new Map();
  let troubles = [];
  let shownRows = ROWS;
  let allPlugins = false;
  let allTroubles = false;
  let opened = null;
  let focused = null;
  const buttons = new Map();
  const filter = { kind: -1, show: "all", account: "" };

  // An element with text, attributes and children.
  function make(tag, options = {}, ...children) {
    const { text, ...attributes } = options;
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name === "class") element.className = value;
      else if (value !== undefined) element.setAttribute(name, value);
    }
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  }
  // Changes only what differs: otherwise a screen reader would repeat everything.
  function tell(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }
  const number = (value) => Math.round(value).toLocaleString("en");
  const plural = (count, one, many = one + "s") => `${number(count)} ${count === 1 ? one : many}`;
  function time(seconds) {
    if (seconds < 10) return `${seconds.toFixed(1)} s`;
    if (seconds < 60) return `${Math.round(seconds)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} min ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
    return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  }
  function bytes(count) {
    if (count < 1 << 20) return `${number(count / 1024)} KiB`;
    return `${(count / (1 << 20)).toFixed(1)} MiB`;
  }
  const clock = (millis) => new Date(millis).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const date = (millis) => new Date(millis).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
  const mark = (state, text) => make("span", { class: `mark ${state}`, text });

  // The model: for each cell the letters, counts and times of its kinds.
  function take(message) {
    view = message;
    received = performance.now();
    const changed = new Set();
    if (message.layout) {
      layout = message.layout;
      cells = new Map();
      troubles = [];
      for (const cell of layout.cells) {
        cells.set(`${cell.account}/${cell.place}`, { ...cell, states: [...cell.states] });
      }
    }
    for (const [position, trouble] of message.troubles) troubles[position] = trouble;
    for (const [account, place, kind, state, fetched, millis, trouble] of message.units ?? []) {
      const key = `${account}/${place}`;
      const cell = cells.get(key);
      if (!cell) continue;
      cell.states[kind] = state;
      cell.fetched[kind] = fetched;
      cell.millis[kind] = millis;
      if (trouble === null) delete cell.troubles[kind];
      else cell.troubles[kind] = trouble;
      changed.add(key);
    }
    return changed;
  }
  function tally(cell) {
    const count = { f: 0, r: 0, q: 0, s: 0, c: 0, all: 0 };
    if (!cell) return count;
    for (let kind = 0; kind < cell.states.length; kind++) {
      if (filter.kind >= 0 && filter.kind !== kind) continue;
      const state = cell.states[kind];
      if (state === "-") continue;
      count[state]++;
      count.all++;
    }
    return count;
  }
  function totals() {
    const all = { f: 0, r: 0, q: 0, s: 0, c: 0, all: 0 };
    for (const cell of cells.values()) {
      for (const state of cell.states) {
        if (state === "-") continue;
        all[state]++;
        all.all++;
      }
    }
    return all;
  }

  // The state of a cell, its text, and its label.
  function shown(key) {
    const count = tally(cells.get(key));
    if (count.all === 0) return null;
    let state = WORST.find((letter) => count[letter] > 0);
    const ended = count.f + count.s + count.c;
    if (state === "q" && ended > 0) state = "r";
    let text = STATES[state].mark;
    if (state === "r") text = `▸ ${ended}/${count.all}`;
    if ((state === "f" || state === "s") && count.all > 1) text = `${text} ${count[state]}`;
    const parts = Object.entries(STATES).filter(([letter]) => count[letter] > 0);
    const told = parts.map(([letter, { name }]) => `${number(count[letter])} ${name}`).join(", ");
    return { state: STATES[state].name, text, told };
  }

  function accountName(index) {
    const [id, name] = layout.accounts[index];
    return name && name !== `Account ${id}` ? `${name} (${id})` : id;
  }
  function rows() {
    const wanted = filter.account.trim().toLowerCase();
    const found = [];
    layout.accounts.forEach(([id, name], account) => {
      if (wanted && !id.includes(wanted) && !name.toLowerCase().includes(wanted)) return;
      const count = { f: 0, r: 0, q: 0, s: 0, c: 0, all: 0 };
      layout.places.forEach((_, place) => {
        const own = tally(cells.get(`${account}/${place}`));
        for (const letter in count) count[letter] += own[letter];
      });
      if (filter.show === "trouble" && count.f + count.s === 0) return;
      if (filter.show === "open" && count.q + count.r === 0) return;
      if (count.all > 0 || filter.kind < 0) found.push(account);
    });
    return found;
  }

  function drawGrid() {
    const table = $("grid");
    const kept = focused;
    buttons.clear();
    const found = rows();
    const empty = found.length === 0 || layout.places.length === 0;
    $("scroll").hidden = empty;
    $("grid-help").hidden = empty;
    $("grid-empty").hidden = !empty;
    const { phase } = view.resync;
    tell($("grid-empty"), layout.accounts.length > 0 && layout.places.length > 0 ? "No account matches the filters."
      : phase === "idle" ? "No resync has run yet. One starts when Port requests it, or on the schedule."
      : phase === "ended" ? "Nothing was planned." : "Looking up accounts and regions …");
    const head = make("tr", {}, make("th", { scope: "col", text: "Account" }),
      ...layout.places.map((place) => make("th", { scope: "col", text: place })));
    const body = make("tbody");
    for (const account of found.slice(0, shownRows)) {
      const [id, name] = layout.accounts[account];
      const named = name && name !== `Account ${id}`;
      const header = make("th", { scope: "row", title: accountName(account) }, make("b", { text: named ? name : id }));
      if (named) header.append(make("small", { text: id }));
      const row = make("tr", {}, header);
      layout.places.forEach((place, index) => {
        const key = `${account}/${index}`;
        const cell = make("td");
        if (shown(key)) {
          const button = make("button", { type: "button", tabindex: "-1", "data-key": key });
          buttons.set(key, button);
          cell.append(button);
          drawCell(key);
        }
        row.append(cell);
      });
      body.append(row);
    }
    table.replaceChildren(make("thead", {}, head), body);
    $("grid-more").hidden = found.length <= shownRows;
    tell($("more"), `Show ${number(Math.min(ROWS, found.length - shownRows))} more of ${plural(found.length, "account")}`);
    focusOn(buttons.has(kept) ? kept : buttons.keys().next().value, false);
  }
  function drawCell(key) {
    const button = buttons.get(key);
    const what = shown(key);
    if (!button || !what) return;
    const [account, place] = key.split("/").map(Number);
    const label = `${accountName(account)}, ${layout.places[place]}: ${what.told}`;
    button.className = what.state;
    tell(button, what.text);
    if (button.getAttribute("aria-label") !== label) {
      button.setAttribute("aria-label", label);
      button.title = label;
    }
  }
  // Tab reaches one cell; arrow keys move from there.
  function focusOn(key, move) {
    if (key === undefined) return;
    buttons.get(focused)?.setAttribute("tabindex", "-1");
    focused = key;
    const button = buttons.get(key);
    button?.setAttribute("tabindex", "0");
    if (move) button?.focus();
  }
  function step(event) {
    const by = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    const cell = event.target.closest("td");
    if (!cell || (!by && event.key !== "Home" && event.key !== "End")) return;
    event.preventDefault();
    const lines = [...$("grid").tBodies[0].rows];
    let row = lines.indexOf(cell.parentElement);
    let column = cell.cellIndex;
    const at = () => lines[row]?.cells[column]?.querySelector("button");
    if (!by) {
      const line = [...cell.parentElement.querySelectorAll("button")];
      return focusOn((event.key === "Home" ? line[0] : line[line.length - 1]).dataset.key, true);
    }
    do {
      row += by[0];
      column += by[1];
    } while (lines[row]?.cells[column] && !at());
    if (at()) focusOn(at().dataset.key, true);
  }

  function open(key) {
    opened = key;
    drawDetail();
    $("detail").showModal();
  }
  function drawDetail() {
    const cell = cells.get(opened);
    if (!cell) return;
    const [account, place] = opened.split("/").map(Number);
    tell($("detail-title"), `${accountName(account)}, ${layout.places[place]}`);
    const order = layout.kinds.map((_, kind) => kind).filter((kind) => cell.states[kind] !== "-");
    order.sort((a, b) => WORST.indexOf(cell.states[a]) - WORST.indexOf(cell.states[b]) || a - b);
    const resources = order.reduce((sum, kind) => sum + cell.fetched[kind], 0);
    tell($("detail-about"), `${plural(order.length, "kind")}, ${plural(resources, "resource")} read`);
    const head = make("tr", {}, make("th", { scope: "col", text: "State" }), make("th", { scope: "col", text: "Kind" }),
      make("th", { scope: "col", class: "number", text: "Resources" }), make("th", { scope: "col", class: "number", text: "Time" }));
    const body = make("tbody");
    for (const kind of order) {
      const { name, mark: sign } = STATES[cell.states[kind]];
      const named = make("th", { scope: "row", text: layout.kinds[kind] });
      const trouble = troubles[cell.troubles[kind]];
      if (trouble) {
        named.append(make("p", { class: "why", text: trouble.message }));
        if (trouble.remedy) named.append(make("p", { class: "why remedy", text: trouble.remedy }));
      }
      const ended = "fsc".includes(cell.states[kind]);
      body.append(make("tr", {}, make("td", {}, mark(name, `${sign} ${name}`)), named,
        make("td", { class: "number", text: number(cell.fetched[kind]) }),
        make("td", { class: "number", text: ended ? time(cell.millis[kind] / 1000) : "–" })));
    }
    $("detail-kinds").replaceChildren(make("thead", {}, head), body);
  }

  const seconds = () => view.resync.seconds + (running() && live ? (performance.now() - received) / 1000 : 0);
  const running = () => !["idle", "ended"].includes(view.resync.phase);

  function drawHead(all) {
    const { resync } = view;
    const phase = { idle: ["queued", "·", "No resync yet"], opening: ["running", "▸", "Preparing"],
      reading: ["running", "▸", "Running"], deleting: ["running", "▸", "Deleting"] }[resync.phase];
    const [state, sign, text] = phase ?? OUTCOMES[resync.outcome] ?? ["queued", "·", resync.outcome];
    const badge = $("badge");
    badge.className = `badge ${state}`;
    tell(badge, `${sign} ${text}`);
    const kind = resync.dry_run ? "plan" : "resync";
    tell($("about"), resync.number === 0 ? `version ${view.berth}`
      : `${kind}${live ? ` ${resync.number}` : ""}${resync.reason ? `, ${resync.reason}` : ""}, started ${date(resync.started)}`);
    document.title = `${sign} ${text}${all.f ? ` (${all.f} failed)` : ""} – Berth`;
    const ended = all.f + all.s + all.c;
    const share = all.all ? ended / all.all : 0;
    tell($("done"), resync.number === 0 ? "No resync yet" : all.all ? `${Math.floor(share * 100)} %` : "–");
    drawBar(all, share);
    const list = $("states");
    const wanted = Object.entries(STATES).filter(([letter]) => all[letter] > 0 || letter === "c");
    list.hidden = all.all === 0;
    list.replaceChildren(...wanted.map(([letter, { name, mark: sign }]) =>
      make("li", { class: name }, `${sign} `, make("b", { text: number(all[letter]) }), ` ${name}`)));
  }
  function drawTimes() {
    const all = totals();
    const ended = all.f + all.s + all.c;
    const passed = seconds();
    let text = all.all ? `${number(ended)} of ${plural(all.all, "unit")}` : "";
    if (view.resync.number > 0) text += `${text ? " · " : ""}${time(passed)}`;
    if (view.resync.phase === "reading" && ended > 0 && ended < all.all) {
      text += ` · about ${time((passed / ended) * (all.all - ended))} left`;
    }
    tell($("times"), text);
  }
  function drawBar(all, share) {
    const bar = $("bar");
    bar.setAttribute("aria-valuenow", Math.floor(share * 100));
    bar.setAttribute("aria-valuetext", `${number(all.f + all.s + all.c)} of ${plural(all.all, "unit")}`);
    if (!bar.firstChild) for (const letter of "cfsr") bar.append(make("span", { class: STATES[letter].name }));
    [..."cfsr"].forEach((letter, index) => {
      bar.children[index].style.width = `${all.all ? (100 * all[letter]) / all.all : 0}%`;
    });
  }

  const SVG = "http://www.w3.org/2000/svg";
  function line(column) {
    const svg = document.createElementNS(SVG, "svg");
    svg.setAttribute("viewBox", "0 0 100 30");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const points = rates(column);
    if (points.length > 1) {
      const end = points[points.length - 1][0];
      const begin = points[0][0];
      const top = Math.max(...points.map(([, rate]) => rate)) || 1;
      const path = document.createElementNS(SVG, "path");
      path.setAttribute("d", points.map(([at, rate], index) =>
        `${index ? "L" : "M"}${((100 * (at - begin)) / (end - begin || 1)).toFixed(1)},${(29 - (28 * rate) / top).toFixed(1)}`).join(""));
      svg.append(path);
    }
    return svg;
  }
  // The rate per second between two measurements.
  function rates(column) {
    const points = [];
    for (let index = 1; index < view.traffic.length; index++) {
      const [then, now] = [view.traffic[index - 1], view.traffic[index]];
      if (now[0] > then[0]) points.push([now[0], (now[column] - then[column]) / (now[0] - then[0])]);
    }
    return points;
  }
  const each = (requests, things, what) => (things > 0 ? `${(requests / things).toFixed(2)} per ${what}` : "");
  function drawTiles() {
    const { counts, traffic } = view;
    const last = traffic[traffic.length - 1] ?? [0, 0, 0, 0, 0];
    const first = traffic[0] ?? last;
    const written = counts.created + counts.updated;
    const [writes, wrote] = view.resync.dry_run ? ["Entities to write", "to create"] : ["Entities written", "created"];
    const tiles = [
      ["Resources read", counts.fetched, 1, layout.kinds.length === 0 ? ""
        : `${plural(layout.kinds.length, "kind")} in ${plural(layout.accounts.length, "account")}${counts.documents ? `, ${plural(counts.documents, "document")}` : ""}`],
      [writes, written, 2, [[counts.created, wrote], [counts.updated, view.resync.dry_run ? "to update" : "updated"],
        [counts.unchanged, "unchanged"], [counts.deleted, view.resync.dry_run ? "to delete" : "deleted"], [counts.refused, "refused"]]
        .filter(([count]) => count > 0).map(([count, what]) => `${number(count)} ${what}`).join(", ")],
      ["Requests to AWS", last[3] - first[3], 3, each(last[3] - first[3], counts.fetched, "resource read")],
      ["Requests to Port", last[4] - first[4], 4, each(last[4] - first[4], written, "entity written")],
    ];
    $("tiles").replaceChildren(...tiles.map(([name, count, column, more]) => {
      const points = rates(column);
      const now = running() ? points[points.length - 1]?.[1] ?? 0
        : (last[column] - first[column]) / (last[0] - first[0] || 1);
      return make("div", { class: "card tile" }, make("h3", { text: name }), make("b", { text: number(count) }),
        make("span", { class: "rate", text: last[0] > 0 ? `${number(now)}/s${running() ? "" : " on average"}` : "" }), line(column),
        make("span", { class: "more", text: more }));
    }));
  }

  function drawTroubles() {
    const told = troubles.filter(Boolean);
    const rank = (trouble) => (ABOUT[trouble.about]?.[0] === "failed" ? 0 : 1);
    const sorted = [...told].sort((a, b) => rank(a) - rank(b) || b.count - a.count);
    tell($("trouble-count"), told.length ? number(told.length + view.untold) : "");
    $("trouble-empty").hidden = told.length > 0;
    tell($("trouble-empty"), view.resync.number > 0 ? "No problems." : "No problems yet.");
    const limit = allTroubles ? sorted.length : TROUBLES;
    $("troubles").replaceChildren(...sorted.slice(0, limit).map((trouble) => {
      const [state, name] = ABOUT[trouble.about] ?? ["failed", trouble.about];
      const sign = state === "failed" ? "✗" : "–";
      const shown = trouble.concerns.slice(0, 4).join(", ");
      const more = trouble.count - Math.min(4, trouble.concerns.length);
      const item = make("li", {}, mark(state, `${sign} ${name}`),
        make("p", { class: "concerns", text: more > 0 ? `${shown} and ${number(more)} more` : shown }),
        make("p", { class: "message", text: trouble.message }));
      if (trouble.remedy) item.append(make("p", { class: "remedy", text: trouble.remedy }));
      return item;
    }));
    $("trouble-more").hidden = sorted.length <= limit;
    tell($("all-troubles"), `Show all ${number(sorted.length)} problems`);
    $("notes").hidden = view.notes.length === 0;
    $("notes").lastElementChild.replaceChildren(...view.notes.map((text) => make("li", { text })));
  }
  function drawPlugins() {
    const sorted = [...view.plugins].sort((a, b) => b.seconds - a.seconds || a.plugin.localeCompare(b.plugin));
    const limit = allPlugins ? sorted.length : PLUGINS;
    const longest = sorted[0]?.seconds || 1;
    const head = make("tr", {}, make("th", { scope: "col", text: "Plugin" }),
      ...["Batches", "Time", "Per batch", "Peak memory"].map((text) => make("th", { scope: "col", class: "number", text })));
    const body = make("tbody", {}, ...sorted.slice(0, limit).map((used) => make("tr", {},
      make("th", { scope: "row", text: used.plugin }),
      make("td", { class: "number", text: number(used.batches) }),
      make("td", { class: "number", text: time(used.seconds) }),
      make("td", { class: "number", text: `${((1000 * used.seconds) / used.batches).toFixed(1)} ms` }),
      make("td", { class: "number", text: used.peak_memory ? bytes(used.peak_memory) : "–" }))));
    $("plugins").hidden = sorted.length === 0;
    $("plugins-empty").hidden = sorted.length > 0;
    $("plugins").replaceChildren(make("thead", {}, head), body);
    $("plugins-more").hidden = sorted.length <= limit;
    tell($("all-plugins"), `Show all ${number(sorted.length)} plugins`);
  }
  function drawHistory() {
    const head = make("tr", {}, make("th", { scope: "col", text: "Started" }), make("th", { scope: "col", text: "Outcome" }),
      ...["Time", "Units", "Written", "Deleted"].map((text) => make("th", { scope: "col", class: "number", text })));
    const body = make("tbody", {}, ...view.history.map((past) => {
      const [state, sign, long, short] = OUTCOMES[past.outcome] ?? ["queued", "·", past.outcome];
      const text = short ?? long;
      return make("tr", {}, make("th", { scope: "row", text: clock(past.started), title: `${date(past.started)}, ${past.reason}` }),
        make("td", {}, mark(state, `${sign} ${text}`)),
        make("td", { class: "number", text: time(past.seconds) }),
        make("td", { class: "number", text: `${number(past.complete)}/${number(past.units)}` }),
        make("td", { class: "number", text: number(past.counts.created + past.counts.updated) }),
        make("td", { class: "number", text: number(past.counts.deleted) }));
    }));
    $("history").hidden = view.history.length === 0;
    $("history-empty").hidden = view.history.length > 0;
    $("history").replaceChildren(make("thead", {}, head), body);
  }
  function drawKinds() {
    const select = $("kind");
    const chosen = layout.kinds[filter.kind];
    select.replaceChildren(make("option", { value: "", text: "all kinds" }),
      ...layout.kinds.map((kind, index) => make("option", { value: index, text: kind })));
    filter.kind = chosen === undefined ? -1 : layout.kinds.indexOf(chosen);
    select.value = filter.kind < 0 ? "" : String(filter.kind);
  }

  function draw(changed, whole) {
    const all = totals();
    drawHead(all);
    drawTimes();
    drawTiles();
    if (whole) drawKinds();
    // A filter by state changes which accounts are listed.
    if (whole || (changed.size > 0 && filter.show !== "all")) drawGrid();
    else changed.forEach(drawCell);
    drawTroubles();
    drawPlugins();
    drawHistory();
    if ($("detail").open) cells.has(opened) ? (whole || changed.has(opened)) && drawDetail() : $("detail").close();
  }
  function receive(message) {
    // Positions change with a new layout; names identify the cell.
    const name = (key) => key && key.split("/").map(Number).map((at, index) => (index ? layout.places[at] : layout.accounts[at]?.[0]));
    const before = [focused, opened].map(name);
    const chosen = layout.kinds[filter.kind];
    const changed = take(message);
    if (message.layout) {
      const find = (named) => named && `${layout.accounts.findIndex(([id]) => id === named[0])}/${layout.places.indexOf(named[1])}`;
      [focused, opened] = before.map(find);
      filter.kind = chosen === undefined ? -1 : layout.kinds.indexOf(chosen);
    }
    const active = document.activeElement?.closest?.("#grid") !== null && document.activeElement !== document.body;
    draw(changed, Boolean(message.layout));
    if (active && document.activeElement === document.body) focusOn(focused, true);
    document.body.dataset.ready = "true";
  }

  $("kind").addEventListener("change", (event) => {
    filter.kind = event.target.value === "" ? -1 : Number(event.target.value);
    drawGrid();
  });
  $("show").addEventListener("change", (event) => {
    filter.show = event.target.value;
    shownRows = ROWS;
    drawGrid();
  });
  $("account").addEventListener("input", (event) => {
    filter.account = event.target.value;
    shownRows = ROWS;
    drawGrid();
  });
  $("filters").addEventListener("submit", (event) => event.preventDefault());
  $("grid").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    focusOn(button.dataset.key, true);
    open(button.dataset.key);
  });
  $("grid").addEventListener("keydown", step);
  $("close").addEventListener("click", () => $("detail").close());
  $("detail").addEventListener("close", () => focusOn(focused, true));
  $("more").addEventListener("click", () => {
    shownRows += ROWS;
    drawGrid();
  });
  $("all-plugins").addEventListener("click", () => {
    allPlugins = true;
    drawPlugins();
  });
  $("all-troubles").addEventListener("click", () => {
    allTroubles = true;
    drawTroubles();
  });
  WORST.forEach((letter, index) => $("legend").append(index ? ", " : "", mark(STATES[letter].name, STATES[letter].mark), ` ${STATES[letter].name}`));

  const data = $("data").textContent;
  const live = data.trim() === "";
  if (live) {
    const events = new EventSource("status/events");
    tell($("link"), "connecting …");
    events.addEventListener("message", (event) => {
      $("link").className = "";
      tell($("link"), "● live");
      receive(JSON.parse(event.data));
    });
    events.addEventListener("error", () => {
      $("link").className = "lost";
      tell($("link"), "✗ connection lost; reconnecting");
      // The browser does not retry after a server error.
      if (events.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 15000);
    });
    setInterval(() => view && running() && drawTimes(), 1000);
  } else {
    const message = JSON.parse(data);
    tell($("link"), `report of ${date(message.now)}`);
    receive(message);
  }
})();

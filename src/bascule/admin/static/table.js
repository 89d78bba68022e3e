// The list of live sessions: only the rows in sight exist, and only those are asked for.

import { age, bytes } from "./format.js";

const COLUMNS = [
  ["id", "Session", "id", (row) => row.id],
  ["route", "Route", "route", (row) => row.route],
  ["kind", "Kind", "kind", (row) => row.kind],
  ["user", "User", "user", (row) => row.user ?? "–"],
  ["client", "Client", null, (row) => row.client],
  ["age", "Age", "age", (row) => age(row.age)],
  ["idle", "Idle", "idle", (row) => age(row.idle)],
  ["in", "Sent", "bytesIn", (row) => bytes(row.bytesIn)],
  ["out", "Received", "bytesOut", (row) => bytes(row.bytesOut)],
];
const NAMES = new Set(["route", "user"]);
const RIGHT = new Set(["age", "idle", "in", "out"]);
const SPARE = 12; // rows fetched beyond each edge, so that a short scroll shows rows at once
const REFRESH = 2000;

export class SessionTable {
  constructor({ head, body, space, empty, found, printed, filters, call, close }) {
    Object.assign(this, { head, body, space, empty, found, printed, filters, call, close });
    this.sort = "age"; // newest first
    this.rows = new Map();
    this.total = 0;
    this.last = null;
    this.asked = 0;
    this.timer = 0;
    this.seen = false;
    this.running = false;
    this.makeHead();
    body.addEventListener("scroll", () => this.soon(60), { passive: true });
    space.addEventListener("keydown", (event) => this.step(event));
    space.addEventListener("focusin", () => this.oneStop());
    addEventListener("resize", () => this.soon(100));
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("input", () => {
      this.body.scrollTop = 0;
      this.soon(200);
    });
    new IntersectionObserver(([entry]) => {
      this.seen = entry.isIntersecting;
      if (this.seen) this.soon(0);
    }, { rootMargin: "200px" }).observe(body.parentElement);
  }

  start() {
    this.running = true;
    this.soon(0);
  }

  stop() {
    this.running = false;
    clearTimeout(this.timer);
  }

  // What the stream says, until rows have been asked for.
  expect(count) {
    if (!this.rows.size && !this.asked) this.found.textContent = count.toLocaleString();
  }

  routes(names) {
    const select = this.filters.elements.route;
    const chosen = select.value;
    const [all, ...shown] = select.options;
    // JupyterHub's come and go with their sessions; one that is chosen stays until another is.
    names = [...new Set(chosen ? [...names, chosen] : names)].sort();
    if (shown.length === names.length && shown.every(({ value }, i) => value === names[i])) return;
    select.replaceChildren(all, ...names.map((name) => new Option(name, name)));
    select.value = chosen;
  }

  makeHead() {
    for (const [name, title, key] of COLUMNS) {
      const cell = document.createElement("div");
      cell.setAttribute("role", "columnheader");
      cell.className = `c-${name}${RIGHT.has(name) ? " r" : ""}`;
      const button = document.createElement("button");
      button.textContent = title;
      button.type = "button";
      button.disabled = !key;
      if (key) {
        button.addEventListener("click", () => this.by(key));
        cell.dataset.key = key;
      }
      if (name === "in") button.title = "Payload towards the upstream";
      if (name === "out") button.title = "Payload towards the browser";
      cell.append(button);
      this.head.append(cell);
    }
    const last = document.createElement("div");
    last.setAttribute("role", "columnheader");
    last.className = "c-act";
    last.setAttribute("aria-label", "Actions");
    this.head.append(last);
    this.showSort();
  }

  by(key) {
    // A second click reverses; figures begin with the largest, which is what one looks for.
    const largestFirst = ["idle", "bytesIn", "bytesOut"].includes(key);
    const bare = this.sort.replace("-", "");
    if (bare === key) this.sort = this.sort.startsWith("-") ? key : `-${key}`;
    else this.sort = largestFirst ? `-${key}` : key;
    this.showSort();
    this.body.scrollTop = 0;
    this.soon(0);
  }

  showSort() {
    for (const cell of this.head.children) {
      const mine = cell.dataset.key && cell.dataset.key === this.sort.replace("-", "");
      if (mine) cell.setAttribute("aria-sort", this.sort.startsWith("-") ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  soon(delay) {
    clearTimeout(this.timer);
    if (this.running) this.timer = setTimeout(() => this.load(), delay);
  }

  rowHeight() {
    const root = getComputedStyle(document.documentElement);
    return parseFloat(root.getPropertyValue("--row")) * parseFloat(root.fontSize);
  }

  async load() {
    if (!this.seen || !this.running) return;
    const asked = ++this.asked;
    const height = this.rowHeight();
    const inSight = Math.ceil(Math.max(this.body.clientHeight, 400) / height);
    const offset = Math.max(0, Math.floor(this.body.scrollTop / height) - SPARE);
    const query = new URLSearchParams({ sort: this.sort, offset, limit: inSight + 2 * SPARE });
    for (const [name, value] of new FormData(this.filters)) if (value.trim()) query.set(name, value.trim());
    try {
      const answer = await this.call(`sessions?${query}`);
      if (asked === this.asked) this.show(answer, offset, height, query);
    } catch {
      // The stream says what is wrong; the next round asks again.
    }
    if (asked === this.asked) this.soon(REFRESH);
  }

  show({ sessions, total }, offset, height, query) {
    const filtered = ["kind", "route", "user", "id", "minIdle"].some((name) => query.has(name));
    this.total = total;
    this.found.textContent = filtered ? `${total.toLocaleString()} match` : total.toLocaleString();
    this.empty.hidden = total > 0;
    this.empty.textContent = filtered ? "No session matches." : "No session is open.";
    this.space.style.height = `${total * height}px`;
    this.body.hidden = total === 0;
    this.body.parentElement.setAttribute("aria-rowcount", total + 1);
    const keep = new Map();
    sessions.forEach((row, index) => {
      const element = this.rows.get(row.id) ?? this.makeRow(row);
      this.fill(element, row);
      element.style.transform = `translateY(${(offset + index) * height}px)`;
      element.setAttribute("aria-rowindex", offset + index + 2);
      keep.set(row.id, element);
    });
    const heir = this.heir(keep);
    for (const [id, element] of this.rows) if (!keep.has(id)) element.remove();
    // In the order of the page, for those who read it without seeing it; moving a node costs its focus.
    let before = null;
    for (const element of keep.values()) {
      const next = before ? before.nextSibling : this.space.firstChild;
      if (next !== element) {
        if (element.contains(document.activeElement) && element.parentNode) break;
        this.space.insertBefore(element, next);
      }
      before = element;
    }
    for (const element of keep.values()) if (!element.parentNode) this.space.append(element);
    this.rows = keep;
    heir?.focus({ preventScroll: true });
    this.oneStop();
    const last = offset + sessions.length;
    this.printed.textContent = last - offset < total ? `Printed: ${offset + 1} to ${last} of ${total.toLocaleString()}` : "";
  }

  // One row's button is reached with the Tab key, and from there the others with the arrows: a few hundred stops
  // would keep those without a mouse from all that follows. It is the one that has the focus or had it last, else
  // the first in sight.
  oneStop() {
    const rows = [...this.rows.values()];
    const { top, bottom } = this.body.getBoundingClientRect();
    const seen = rows.filter((row) => row.getBoundingClientRect().top >= top && row.getBoundingClientRect().bottom <= bottom + 1);
    const focused = rows.find((row) => row.contains(document.activeElement));
    if (focused) this.last = focused;
    const stop = focused ?? (seen.includes(this.last) ? this.last : seen[0] ?? rows[0]);
    for (const row of rows) row.querySelector("button").tabIndex = row === stop ? 0 : -1;
  }

  step(event) {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest(".grid-row");
    if (!way || !row || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const place = Number(row.getAttribute("aria-rowindex")) + way;
    this.space.querySelector(`[aria-rowindex="${place}"] button`)?.focus();
  }

  // Who gets the focus of a row that goes: the next one, else the one before, else the list. Null: none is lost.
  heir(keep) {
    const row = document.activeElement.closest(".grid-row");
    if (!this.space.contains(row) || keep.has(row.row.id)) return null;
    const stays = (other) => keep.has(other.row.id);
    const rows = [...this.space.children];
    const at = rows.indexOf(row);
    const next = rows.slice(at).find(stays) ?? rows.slice(0, at).findLast(stays);
    return next ? next.querySelector("button") : this.rest();
  }

  // Where the focus can always be.
  rest() {
    return this.total ? this.body : this.empty;
  }

  makeRow(row) {
    const element = document.createElement("div");
    element.className = "grid-row";
    element.setAttribute("role", "row");
    element.parts = COLUMNS.map(([name]) => {
      const cell = document.createElement("div");
      cell.setAttribute("role", "cell");
      cell.className = `cell ${name} c-${name}${RIGHT.has(name) ? " r" : ""}`;
      if (NAMES.has(name)) cell.dir = "auto"; // what is written from the right begins there, and is cut at its end
      element.append(cell);
      return cell;
    });
    const act = document.createElement("div");
    act.setAttribute("role", "cell");
    act.className = "c-act";
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Close…";
    button.setAttribute("aria-label", `Close session ${row.id}${row.user ? ` of \u2068${row.user}\u2069` : ""}…`);
    button.addEventListener("click", () => this.close(element.row, () => element.classList.add("going")));
    act.append(button);
    element.append(act);
    return element;
  }

  fill(element, row) {
    element.row = row;
    element.classList.toggle("nobody", row.user === null);
    COLUMNS.forEach(([name, , , text], index) => {
      const cell = element.parts[index];
      const value = text(row);
      if (cell.textContent !== value) cell.textContent = value;
      if (name === "kind") cell.className = `cell kind c-kind k-${row.kind}`;
      if (name === "route") cell.className = `cell c-route k-${row.kind}`;
      if (name === "user") cell.classList.toggle("none", row.user === null);
      if (name === "user" || name === "id" || name === "route") cell.title = value;
    });
  }
}

// <bascule-capacity>: the capacity badges of Hopsworks as one element without dependencies.
//
//   <script type="module" src="/.bascule/badge.js"></script>
//   <bascule-capacity endpoint="/.bascule/capacity" scope="both" for="#run-jupyter"></bascule-capacity>
//
// Attributes: endpoint (default /.bascule/capacity; empty: no polling, set `reading` instead), scope (instance,
// cluster or both), for (selector of the buttons that a full cluster disables), interval (seconds between polls,
// at least 5), theme (light or dark; without it the browser's preference).
// Event: `capacity-change` with the answer as detail, whenever a level changes.
//
// Rules: the four texts are the contract's, to the letter. A full instance disables nothing, for another may have
// room; only a full cluster does. Room for the longest text is always kept, so nothing on the page moves. All
// elements with one endpoint share one poll; a hidden page asks nothing; an answer that is too old shows nothing.

const TEXTS = {
  instance: { warning: "This instance is close to its limit", critical: "This instance is full" },
  cluster: { warning: "Cluster is close to its limit", critical: "Cluster is full" },
};
const MEANINGS = {
  instance: {
    warning:
      "The Hopsworks instance you would be routed to has few free session slots left. New sessions can still start but may fail soon.",
    critical:
      "The Hopsworks instance you would be routed to has no free session slots. New sessions may still start if another instance has capacity; refreshing or signing back in may land you on that pod.",
  },
  cluster: {
    warning:
      "All Hopsworks instances together have few free session slots. New sessions may succeed on a less-busy pod, but a refresh or retry might land on a full one.",
    critical: "All Hopsworks instances together have no free session slots. New sessions are rejected platform-wide.",
  },
};
const LEAST_INTERVAL = 5;
const DEFAULT_INTERVAL = 10;
const LONGEST_WAIT = 300;
const ANSWER_TIMEOUT = 10;
const STALE_AFTER = 90; // seconds without an answer after which the last one is not shown any more

const STYLE = `
:host { display: inline-flex; flex-wrap: wrap; gap: .35em; align-items: center; vertical-align: middle; font: 500 .8125rem/1.4 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  --align: start; --warning-back: #fff3e0; --warning-ink: #864500; --warning-line: #f3b562; --warning-mark: #f08c00;
  --critical-back: #fdecec; --critical-ink: #9e1b20; --critical-line: #ef9a9a; --critical-mark: #e03131; }
:host([hidden]) { display: none; }
@media (prefers-color-scheme: dark) { :host(:not([theme="light"])) {
  --warning-back: #38260b; --warning-ink: #ffc878; --warning-line: #7a5418; --warning-mark: #ffa726;
  --critical-back: #3d1719; --critical-ink: #ffa8a8; --critical-line: #8a3034; --critical-mark: #ff6b6b; } }
:host([theme="dark"]) {
  --warning-back: #38260b; --warning-ink: #ffc878; --warning-line: #7a5418; --warning-mark: #ffa726;
  --critical-back: #3d1719; --critical-ink: #ffa8a8; --critical-line: #8a3034; --critical-mark: #ff6b6b; }
.slot { display: inline-grid; justify-items: var(--align); }
.slot > * { grid-area: 1 / 1; }
.badge { display: inline-flex; align-items: center; gap: .5em; padding: .1em .7em .1em .55em; border: 1px solid transparent; border-radius: 99px; white-space: nowrap; cursor: default; }
.ghost { visibility: hidden; }
.warning { background: var(--warning-back); color: var(--warning-ink); border-color: var(--warning-line); }
.critical { background: var(--critical-back); color: var(--critical-ink); border-color: var(--critical-line); }
.mark { flex: none; width: .62em; height: .62em; border-radius: 50%; background: var(--warning-mark); }
.critical .mark { background: var(--critical-mark); border-radius: 2px; }
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (forced-colors: active) { .badge:not(.ghost) { border-color: CanvasText; } }
`;

const now = () => performance.now() / 1000;

// One poll for all elements that ask the same endpoint.
class Poll {
  static byEndpoint = new Map();

  static of(endpoint) {
    if (!Poll.byEndpoint.has(endpoint)) Poll.byEndpoint.set(endpoint, new Poll(endpoint));
    return Poll.byEndpoint.get(endpoint);
  }

  constructor(endpoint) {
    this.endpoint = endpoint;
    this.elements = new Set();
    this.failures = 0;
    this.answer = null;
    this.answeredAt = -Infinity;
    this.askedAt = -Infinity;
    this.notBefore = -Infinity; // what Retry-After asked for, whatever happens to the page meanwhile
    this.timer = 0;
    this.request = null;
    document.addEventListener("visibilitychange", () => this.plan());
  }

  add(element) {
    this.elements.add(element);
    if (this.fresh()) element.reading = this.answer;
    this.plan();
  }

  remove(element) {
    this.elements.delete(element);
    this.plan();
  }

  fresh() {
    return this.answer !== null && now() - this.answeredAt < STALE_AFTER;
  }

  interval() {
    const wanted = [...this.elements].map((element) => element.interval);
    return Math.max(LEAST_INTERVAL, Math.min(...wanted));
  }

  // Jitter, so that pages opened together do not ask together; back-off, so that nobody hammers what is down.
  pause() {
    const backedOff = Math.min(LONGEST_WAIT, this.interval() * 2 ** this.failures);
    return Math.max(backedOff * (0.85 + 0.3 * Math.random()), LEAST_INTERVAL);
  }

  plan(pause) {
    clearTimeout(this.timer);
    if (document.hidden || !this.elements.size) {
      this.request?.abort();
      this.request = null;
      return;
    }
    if (this.request) return;
    const due = Math.max(this.askedAt + (pause ?? (this.failures ? this.pause() : LEAST_INTERVAL)), this.notBefore);
    this.timer = setTimeout(() => this.ask(), Math.max(0, (due - now()) * 1000));
  }

  async ask() {
    const request = (this.request = new AbortController());
    const deadline = setTimeout(() => request.abort(new Error("no answer")), ANSWER_TIMEOUT * 1000);
    this.askedAt = now();
    try {
      const answer = await fetch(this.endpoint, { signal: request.signal, headers: { Accept: "application/json" }, cache: "no-store" });
      this.notBefore = this.askedAt + (Number(answer.headers.get("Retry-After")) || 0);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.answer = await answer.json();
      this.answeredAt = now();
      this.failures = 0;
    } catch {
      if (this.request !== request) return; // the page was hidden, or nobody asks any more
      this.failures = Math.min(this.failures + 1, 6);
    } finally {
      clearTimeout(deadline);
      if (this.request === request) this.request = null;
    }
    const shown = this.fresh() ? this.answer : null;
    for (const element of this.elements) element.reading = shown;
    this.plan(this.pause());
  }
}

export class BasculeCapacity extends HTMLElement {
  static observedAttributes = ["endpoint", "scope", "for"];

  #reading = null;
  #poll = null;
  #levels = "";
  #disabled = new Set();
  #slots = {};
  #spoken;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    // A constructed sheet, because a strict policy forbids inline style elements.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    for (const scope of ["instance", "cluster"]) {
      const slot = document.createElement("span");
      slot.className = "slot";
      const ghost = badge(TEXTS[scope].warning);
      ghost.className = "badge ghost";
      ghost.ariaHidden = "true";
      const shown = badge("");
      shown.className = "badge ghost";
      // Spoken once by the live region below; the badge itself can still be read where it stands.
      shown.setAttribute("part", "badge");
      slot.append(ghost, shown);
      root.append(slot);
      this.#slots[scope] = { slot, shown };
    }
    this.#spoken = document.createElement("span");
    this.#spoken.className = "spoken";
    this.#spoken.setAttribute("aria-live", "polite");
    this.#spoken.setAttribute("role", "status");
    root.append(this.#spoken);
  }

  get interval() {
    const wanted = Number(this.getAttribute("interval"));
    return wanted > 0 ? Math.max(LEAST_INTERVAL, wanted) : DEFAULT_INTERVAL;
  }

  get scopes() {
    const scope = this.getAttribute("scope");
    return scope === "instance" || scope === "cluster" ? [scope] : ["instance", "cluster"];
  }

  // The last answer of the capacity API; null shows nothing.
  get reading() {
    return this.#reading;
  }

  set reading(answer) {
    this.#reading = answer;
    this.#draw();
  }

  connectedCallback() {
    const endpoint = this.getAttribute("endpoint") ?? "/.bascule/capacity";
    if (endpoint) {
      this.#poll = Poll.of(new URL(endpoint, document.baseURI).href);
      this.#poll.add(this);
    }
    this.#draw();
  }

  disconnectedCallback() {
    this.#poll?.remove(this);
    this.#poll = null;
    this.#enable();
  }

  attributeChangedCallback(name) {
    if (!this.isConnected) return;
    if (name === "endpoint") {
      this.disconnectedCallback();
      this.#reading = null;
      this.connectedCallback();
    } else {
      if (name === "for") this.#enable();
      this.#draw();
    }
  }

  #draw() {
    const scopes = this.scopes;
    const words = [];
    const levels = {};
    for (const scope of ["instance", "cluster"]) {
      const { slot, shown } = this.#slots[scope];
      slot.hidden = !scopes.includes(scope);
      slot.style.display = slot.hidden ? "none" : "";
      const part = this.#reading?.[scope];
      const level = part?.level;
      levels[scope] = level ?? "unknown";
      const text = TEXTS[scope][level];
      if (!text) {
        shown.className = "badge ghost";
        shown.lastChild.textContent = "";
        shown.removeAttribute("title");
        continue;
      }
      shown.className = `badge ${level}`;
      shown.lastChild.textContent = text;
      const silent = part.reporting < part.instances ? ` (${part.reporting} of ${part.instances} instances answered.)` : "";
      shown.title = MEANINGS[scope][level] + silent;
      if (!slot.hidden) words.push(text);
    }
    const spoken = words.join(". ");
    if (this.#spoken.textContent !== spoken) this.#spoken.textContent = spoken;
    if (levels.cluster === "critical") this.#disable();
    else this.#enable();
    const changed = `${levels.instance} ${levels.cluster}`;
    if (changed !== this.#levels) {
      this.#levels = changed;
      this.setAttribute("data-instance", levels.instance);
      this.setAttribute("data-cluster", levels.cluster);
      this.dispatchEvent(new CustomEvent("capacity-change", { detail: this.#reading, bubbles: true, composed: true }));
    }
  }

  // Looked up every time, because rows with buttons come and go. Buttons that somebody else disabled stay theirs.
  #disable() {
    const selector = this.getAttribute("for");
    if (!selector || !this.isConnected) return;
    for (const button of this.getRootNode().querySelectorAll(selector)) {
      if (button.disabled) continue;
      button.disabled = true;
      button.dataset.basculeTitle = button.title;
      button.title = TEXTS.cluster.critical;
      this.#disabled.add(button);
    }
  }

  #enable() {
    for (const button of this.#disabled) {
      button.disabled = false;
      button.title = button.dataset.basculeTitle;
      delete button.dataset.basculeTitle;
    }
    this.#disabled.clear();
  }
}

function badge(text) {
  const element = document.createElement("span");
  const mark = document.createElement("span");
  mark.className = "mark";
  const words = document.createElement("span");
  words.textContent = text;
  element.append(mark, words);
  return element;
}

if (!customElements.get("bascule-capacity")) customElements.define("bascule-capacity", BasculeCapacity);

// The status page: one event stream for the figures, the table beside it, no framework.

import { AreaChart, BarChart } from "./charts.js";
import { bytes, duration, moment, utc } from "./format.js";
import { SessionTable } from "./table.js";

const CAUSES = {
  closed: "closed by a peer",
  aborted: "connection dropped",
  timeout: "peer vanished",
  protocol_error: "protocol error",
  too_big: "frame too big",
  idle: "idle timeout",
  drain: "drained",
  admin: "closed by an administrator",
  expired: "login expired",
  internal: "our fault",
};
const FIELD = "X-Bascule-Admin";
const $ = (id) => document.getElementById(id);

function text(id, value) {
  const element = $(id);
  const wanted = String(value);
  if (element.textContent !== wanted) element.textContent = wanted;
}

// --- talking to the admin listener ---

let locked = false; // until a token is entered
let token = sessionStorage.getItem("bascule-admin-token");

class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { [FIELD]: "1" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers, credentials: "omit", cache: "no-store" });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    if (answer.status === 401) askForToken(Boolean(token));
    throw new Refused(answer.status, problem.detail ?? answer.statusText);
  }
  return answer;
}

const call = async (path, options) => (await ask(path, options)).json();

function askForToken(wrong) {
  const dialog = $("token-dialog");
  text("token-error", wrong ? "That token is not the right one." : "");
  locked = true;
  if (!dialog.open) dialog.showModal();
}

$("token-dialog").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("bascule-admin-token", token);
  $("token").value = "";
  locked = false;
  $("token-dialog").close();
  watch();
});
// A second Escape closes it whatever is prevented, and without it there is no way to enter one.
$("token-dialog").addEventListener("cancel", (event) => event.preventDefault());
$("token-dialog").addEventListener("close", () => { if (locked) $("token-dialog").showModal(); });

// --- drawing ---

const flight = new AreaChart($("plot-flight"), "Sessions in flight");
const rejections = new BarChart($("plot-rejections"), "Turned away by the cap");
const traffic = new AreaChart($("plot-traffic"), "Payload to browsers");
const failures = new BarChart($("plot-failures"), "Upstream not reachable");
const table = new SessionTable({
  head: $("table-head"), body: $("table-body"), space: $("table-space"), empty: $("table-empty"), found: $("found"),
  printed: $("table-printed"), filters: $("filters"), call, close: askToClose,
});

let hour = null;
const LEAST_SLOTS = 18;
let before = null;
let latest = null;
const RATES = 120; // seconds of payload shown; they are this page's own and begin when it is opened
const rates = { times: [], values: [] };

// The samples and, behind them, what has happened since the newest: the totals beside the charts have it already.
function untilNow() {
  const open = latest?.open;
  const shown = { ...hour };
  if (!open || open.since < hour.at.at(-1)) return shown;
  for (const key of Object.keys(open)) if (key in hour) shown[key] = [...hour[key], open[key]].slice(-hour.samples);
  return shown;
}

function drawHour() {
  const { at: times, every, inFlight, max, ...counts } = untilNow();
  // A young instance has no hour to show yet: the axis begins at three minutes and grows to the hour.
  const slots = Math.min(hour.samples, Math.max(LEAST_SLOTS, times.length));
  const minutes = Math.round((slots * every) / 60);
  text("axis-start", `${minutes} min ago`);
  text("axis-middle", minutes >= 6 ? Math.round(minutes / 2) : "");
  const span = minutes >= 60 ? "hour" : `${minutes} minutes`;
  text("flight-caption", `Last ${span}`);
  text("rejected-span", `in the last ${span}`);
  text("failures-span", `in the last ${span}`);
  flight.draw({ times, values: inFlight, caps: max, slots, say: (value, index) => `${value.toLocaleString()} of ${max[index].toLocaleString()}` });
  const turned = rejections.draw({ times, values: counts.rejections, slots, every, style: "", unit: "turned away", span });
  const failed = failures.draw({ times, values: counts.upstreamFailures, slots, every, style: "warn", unit: "not reachable", span });
  text("rejected-hour", turned.toLocaleString());
  $("rejected-hour").parentElement.classList.toggle("alarm", turned > 0);
  text("failures-hour", failed.toLocaleString());
}

function addSample(sample) {
  for (const [key, value] of Object.entries(sample)) {
    hour[key].push(value);
    if (hour[key].length > hour.samples) hour[key].shift();
  }
}

// A row that has a bound of its own, `of`, is full at that; the others are beside the largest of them.
function bars(id, rows) {
  const list = $(id);
  const most = Math.max(1, ...rows.filter((row) => !row.of).map((row) => row.share));
  while (list.children.length > rows.length) list.lastChild.remove();
  rows.forEach((row, index) => {
    let item = list.children[index];
    if (!item) {
      item = document.createElement("li");
      item.innerHTML = '<span dir="auto"></span><span class="v"></span><span class="track"><i></i></span>';
      list.append(item);
    }
    const [name, value, track] = item.children;
    if (name.textContent !== row.name) name.textContent = row.name;
    if (row.title) name.title = row.title;
    value.textContent = row.value;
    item.className = row.style ?? "";
    track.firstChild.style.width = `${Math.min(100, (100 * row.share) / (row.of || most))}%`;
  });
}

// A route without a cap of its own has as many as there are.
function outOf(sessions, max) {
  return max === null ? sessions.toLocaleString() : `${sessions.toLocaleString()} of ${max.toLocaleString()}`;
}

function drawGauge({ kinds, instance, warningShare }) {
  const gauge = $("gauge");
  if (!gauge.children.length) {
    for (const kind of Object.keys(kinds)) {
      const part = document.createElement("i");
      part.className = kind;
      gauge.append(part);
      const entry = document.createElement("span");
      entry.className = `k-${kind}`;
      $("kinds").append(entry);
    }
    gauge.append(document.createElement("b"));
  }
  Object.entries(kinds).forEach(([kind, count], index) => {
    gauge.children[index].hidden = !count; // else its gap remains
    gauge.children[index].style.width = `${(100 * count) / instance.max}%`;
    const entry = $("kinds").children[index];
    const wanted = `${kind} ${count.toLocaleString()}`;
    if (entry.textContent !== wanted) entry.textContent = wanted;
  });
  gauge.lastChild.style.left = `${100 * warningShare}%`;
  gauge.setAttribute("aria-valuemax", instance.max);
  gauge.setAttribute("aria-valuenow", instance.inFlight);
  gauge.setAttribute("aria-valuetext", `${instance.inFlight} of ${instance.max}`);
}

function drawState(now) {
  const left = now.instance.inFlight.toLocaleString();
  const drained = now.draining && !now.instance.inFlight;
  const [state, words] = now.draining
    ? ["draining", drained ? "Drained" : `Draining, ${left} left`]
    : now.instance.level === "critical"
      ? ["full", "Full"]
      : !now.ready
        ? ["unready", "Not ready"]
        : now.instance.level === "warning"
          ? ["warning", "Few slots left"]
          : ["ready", "Ready"];
  document.body.dataset.state = state;
  text("state-text", words);
  $("drain").disabled = now.draining;
  document.title = `${now.instance.inFlight}/${now.instance.max} · ${now.instance.name}`;
  if (drained) announce("Drained: no session is left, and none is admitted until a restart", "", "info");
  else if (now.draining) announce("Draining: no new sessions; ", `${left} left`, "info");
  else announce(now.ready ? "" : `Not ready for new sessions: ${now.reason}`);
}

// A figure that moves every second stands apart: it is not read out each time.
function announce(words, figure = "", style = "") {
  const banner = $("banner");
  banner.className = `banner ${style}`;
  text("banner-text", words);
  text("banner-left", figure);
  banner.hidden = !words;
}

function drawForwarders(rows) {
  const body = $("forwarders");
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((row, index) => {
    const line = body.rows[index] ?? body.insertRow();
    while (line.cells.length < 9) line.insertCell();
    const values = [
      row.slot, row.pid || "restarting", row.sessions.toLocaleString(), row.cpuCores.toFixed(2),
      duration(row.cpuSeconds), duration(row.waitSeconds), bytes(row.rssBytes), row.restarts, row.hotPath,
    ];
    values.forEach((value, cell) => {
      if (line.cells[cell].textContent !== String(value)) line.cells[cell].textContent = value;
    });
    line.cells[7].classList.toggle("alarm", row.restarts > 0);
    line.cells[1].classList.toggle("alarm", !row.pid);
  });
}

function drawRates(now) {
  if (before && now.at > before.at) {
    const seconds = now.at - before.at;
    const rate = (key) => `${bytes(Math.round(Math.max(0, now.totals[key] - before.totals[key]) / seconds))}/s`;
    text("rate-in", rate("bytesIn"));
    text("rate-out", rate("bytesOut"));
    rates.times.push(now.at);
    rates.values.push(Math.max(0, now.totals.bytesOut - before.totals.bytesOut) / seconds);
    if (rates.times.length > RATES) for (const series of Object.values(rates)) series.shift();
    traffic.draw({ ...rates, slots: RATES, say: (value) => `${bytes(Math.round(value))}/s to browsers` });
  }
  text("bytes-total", bytes(now.totals.bytesIn + now.totals.bytesOut));
  before = now;
}

function draw(now) {
  latest = now;
  const { instance, cluster, totals, durations } = now;
  if (hour) drawHour();
  drawState(now);
  drawGauge(now);
  drawRates(now);
  drawForwarders(now.forwarders);
  text("pod", instance.name);
  text("uptime", `up ${duration(now.at - now.startedAt)}`);
  text("in-flight", instance.inFlight.toLocaleString());
  text("max", instance.max.toLocaleString());
  // What is free while draining is given to nobody.
  text("free", now.draining ? "–" : Math.max(0, instance.max - instance.inFlight).toLocaleString());
  text("free-why", now.draining ? " draining" : "");
  text("peak", totals.peak.toLocaleString());
  text("oldest", instance.inFlight ? duration(now.oldest) : "–");
  $("cluster-fact").hidden = !cluster;
  if (cluster) {
    const silent = cluster.reporting < cluster.instances ? `, ${cluster.reporting} of ${cluster.instances} instances answer` : ` on ${cluster.instances} instances`;
    text("cluster", `${cluster.inFlight.toLocaleString()} of ${cluster.max.toLocaleString()}${silent}`);
  }
  $("badge").reading = { instance, cluster: cluster ?? { ...instance, instances: 1, reporting: 1 } };
  $("no-badge").hidden = instance.level !== "ok" || (cluster && cluster.level !== "ok");
  $("badge").hidden = !$("no-badge").hidden;
  text("rejected-total", totals.rejections.toLocaleString());
  text("rejected-else", totals.atOtherCaps ? ` · ${totals.atOtherCaps.toLocaleString()} by a user's or route's` : "");
  text("failures-total", totals.upstreamFailures.toLocaleString());
  text("http-failures", totals.httpUpstreamFailures.toLocaleString());
  bars("routes", now.routes.map((route) => ({ name: route.name, value: outOf(route.sessions, route.max), share: route.sessions, of: route.max, style: `k-${route.kind}${route.max !== null && route.sessions >= route.max ? " at-cap" : ""}`, title: `${route.kind} ${route.path}` })));
  const ended = Object.entries(now.ended).sort((a, b) => b[1] - a[1]);
  bars("ended", ended.length ? ended.map(([cause, count]) => ({ name: CAUSES[cause] ?? cause, value: count.toLocaleString(), share: count })) : [{ name: "none yet", value: "0", share: 0 }]);
  bars("durations", ["0.5", "0.95", "0.99"].map((q) => ({ name: { 0.5: "p50", 0.95: "p95", 0.99: "p99" }[q], value: duration(durations.quantiles[q]), share: Math.log1p(durations.quantiles[q] ?? 0) })));
  text("durations-foot", `${durations.count.toLocaleString()} closed · longest ${duration(durations.max)}`);
  table.expect(instance.inFlight);
  table.routes(now.routes.map((route) => route.name));
  text("version", `Bascule ${now.version}`);
  text("as-of", `as of ${moment(now.at)}`);
  $("as-of").title = utc(now.at);
}

// --- the stream ---

let stream = null;
let attempts = 0;
let retry = 0;
let deadline = 0;
const PATIENCE = 5; // seconds without a word before the listener counts as silent
const SPARE = 3; // what an event may come late

const HANDLERS = {
  history: (data) => { hour = data; drawHour(); },
  sample: (data) => { if (hour) addSample(data); },
  snapshot: draw,
};

// Fetch-based, not EventSource: the token goes in a field, never in an address.
async function watch() {
  clearTimeout(retry);
  stream?.abort();
  const mine = (stream = new AbortController());
  expectMore();
  try {
    const answer = await ask("events", { signal: mine.signal });
    table.start();
    loadConfig();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) throw new Error("the stream ended");
      attempts = 0;
      expectMore();
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const name = /^event: (.*)$/m.exec(block)?.[1];
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (name in HANDLERS && data) HANDLERS[name](JSON.parse(data));
      }
    }
  } catch (error) {
    if (mine.signal.aborted) return;
    clearTimeout(deadline);
    if (error.status === 403) shut(error);
    else if (error.status !== 401) lost(error);
  }
}

// A process that is stopped and a network that is gone close nothing: only the clock tells.
function expectMore() {
  clearTimeout(deadline);
  deadline = setTimeout(() => {
    stream.abort();
    lost(new Error("silent"));
  }, Math.max(PATIENCE, (hour?.gap ?? 0) + SPARE) * 1000);
}

function lost(error) {
  table.stop();
  document.body.dataset.state = "lost";
  text("state-text", "No answer");
  const since = latest ? ` Figures are from ${moment(latest.at)}.` : "";
  announce(error.status ? error.message : `The admin listener does not answer; trying again.${since}`);
  const wait = Math.min(15000, 500 * 2 ** attempts) * (0.8 + 0.4 * Math.random());
  attempts += 1;
  retry = setTimeout(watch, wait);
}

// It answers, and will say the same until it is configured otherwise.
function shut(error) {
  table.stop();
  document.body.dataset.state = "shut";
  text("state-text", "No access");
  text("uptime", "");
  announce(error.message);
  $("drain").disabled = true;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(retry);
    clearTimeout(deadline);
    stream?.abort();
    table.stop();
  } else {
    before = null;
    watch();
  }
});

// --- configuration ---

let values = null;

// Asked for whenever the stream begins, since after a reload another process answers, and when somebody looks.
async function loadConfig() {
  try {
    values = (await call("config")).values;
    drawConfig();
  } catch {
    // Not worth a banner of its own: the stream shows that something is wrong.
  }
}

function drawConfig() {
  if (!values) return;
  const set = values.filter((row) => row.source !== "default");
  text("config-count", `${set.length} of ${values.length} values set`);
  const shown = $("config-all").checked ? values : set;
  $("config-rows").replaceChildren(
    ...shown.map((row) => {
      const line = document.createElement("tr");
      line.className = row.source === "default" ? "" : "set";
      for (const value of [row.key, typeof row.value === "string" ? row.value : JSON.stringify(row.value), row.source]) {
        line.insertCell().textContent = value;
      }
      // A key too long for a narrow page goes on in the next line as a whole part of it.
      line.cells[0].replaceChildren(...row.key.split(/(?=[.[])/).flatMap((part) => [part, document.createElement("wbr")]));
      return line;
    }),
  );
}
$("config-all").addEventListener("change", drawConfig);
$("config").addEventListener("toggle", () => { if ($("config").open) loadConfig(); });

// --- what changes something ---

function cancelable(dialog) {
  dialog.querySelector('[value="cancel"]').addEventListener("click", () => dialog.close());
}

let closing = null;

// A name may be written from the right, or turn round what follows it.
function isolated(name) {
  const element = document.createElement("bdi");
  element.textContent = name;
  return element;
}

function askToClose(row, gone) {
  closing = { row, gone };
  $("close-what").replaceChildren(
    `Session ${row.id} on `, isolated(row.route), ", ", ...(row.user === null ? ["user unknown"] : ["user ", isolated(row.user)]),
    `, open for ${duration(row.age)}, idle for ${duration(row.idle)}.`,
  );
  text("close-error", "");
  countReason();
  $("close-dialog").showModal();
}

function countReason() {
  const left = 123 - new TextEncoder().encode($("close-reason").value).length;
  text("close-left", left < 0 ? `${-left} bytes too many` : `${left} bytes left`);
  $("close-dialog").querySelector(".danger").disabled = left < 0;
}
$("close-reason").addEventListener("input", countReason);
cancelable($("close-dialog"));
// The session may have gone meanwhile, and its button with it.
$("close-dialog").addEventListener("close", () => { if (!table.body.contains(document.activeElement)) table.rest().focus(); });
$("close-dialog").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { row, gone } = closing;
  const query = new URLSearchParams({ code: $("close-code").value, reason: $("close-reason").value });
  try {
    await call(`sessions/${row.id}?${query}`, { method: "DELETE" });
    gone();
    $("close-dialog").close();
    table.soon(700);
  } catch (error) {
    text("close-error", error.message);
  }
});

cancelable($("drain-dialog"));
$("drain").addEventListener("click", () => {
  text("drain-error", "");
  $("drain-dialog").showModal();
});
$("drain-dialog").querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("drain", { method: "POST" });
    $("drain-dialog").close();
  } catch (error) {
    text("drain-error", error.message);
  }
});

watch();

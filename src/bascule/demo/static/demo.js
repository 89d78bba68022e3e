// The demo page: real WebSockets through the proxy, and what became of them.

const $ = (id) => document.getElementById(id);
const CAPACITY = "/.bascule/capacity";
const ANSWER_TIMEOUT = 5000;
const MEANINGS = {
  "WebSocket session cap reached (maxSessionsPerApp)":
    "The handshake was accepted with 101 so that the page can see this: a browser hides why an HTTP refusal failed. The upstream was not touched.",
  "WebSocket upstream is not reachable": "Same code, another reason: the cap has nothing to do with it, and it is counted apart.",
};

let cap = 0;
let inFlight = 0;
let known = false; // whether the last look had an answer
let number = 0;
const mine = new Map(); // number → session, those that are open or opening

function socketAddress(path) {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  return address.href;
}

// --- what happened ---

function note(who, words, style = "") {
  const log = $("log");
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString([], { hour12: false });
  const name = document.createElement("span");
  name.className = "who";
  name.textContent = who;
  const what = document.createElement("span");
  what.className = style;
  what.textContent = words;
  line.append(time, name, what);
  log.prepend(line);
  while (log.children.length > 300) log.lastChild.remove();
}

function refused(code, reason, waited) {
  $("refusal-none").hidden = true;
  $("refusal-some").hidden = false;
  $("refusal-code").textContent = code;
  $("refusal-reason").textContent = reason;
  const held = waited > 700 ? ` Held for ${(waited / 1000).toFixed(1)} s, since this browser came back so soon.` : "";
  $("refusal-note").textContent = (MEANINGS[reason] ?? "") + held;
}

// --- sessions ---

// Opens a session; resolves once it is clear whether it stays: true, or false when it was refused.
function open(path, kind, events = {}) {
  const session = { number: ++number, kind, state: "opening", startedAt: performance.now() };
  const who = `#${session.number}`;
  const socket = (session.socket = new WebSocket(socketAddress(path)));
  let settle;
  session.settled = new Promise((resolve) => { settle = resolve; });
  mine.set(session.number, session);
  draw();
  socket.addEventListener("open", () => {
    // A refusal is a 101 and then a Close, so "open" alone does not mean that a slot was given.
    session.openedAt = performance.now();
    // A refusal may be held for half a minute; a session is answered at once, whatever it asks.
    session.wait = setTimeout(() => kept(), 40000);
    if (!events.message) socket.send("?");
  });
  const kept = () => {
    clearTimeout(session.wait);
    if (session.state !== "opening") return;
    session.state = "open";
    note(who, `open after ${Math.round(session.openedAt - session.startedAt)} ms on ${path}`, "good");
    events.open?.();
    draw();
    settle(true);
  };
  socket.addEventListener("message", (event) => {
    kept(); // something came from the upstream: the session is real
    events.message?.(event.data);
  });
  socket.addEventListener("close", (event) => {
    clearTimeout(session.wait);
    const before = session.state;
    session.state = "closed";
    mine.delete(session.number);
    const reason = event.reason ? ` “${event.reason}”` : "";
    const lasted = performance.now() - session.startedAt;
    if (before === "opening") {
      note(who, `refused with ${event.code}${reason} after ${Math.round(lasted)} ms`, "bad");
      refused(event.code, event.reason, lasted);
    } else {
      note(who, `closed with ${event.code}${reason} after ${Math.round(lasted / 1000)} s`);
    }
    events.close?.(event, before === "opening");
    draw();
    look(0);
    settle(false);
  });
  return session;
}

const openEcho = () => open("/echo", "app");

async function openMany(count) {
  const sessions = Array.from({ length: count }, openEcho);
  await Promise.all(sessions.map((session) => session.settled));
  look(0);
}

function closeOne() {
  const plain = [...mine.values()].filter((session) => session.state === "open");
  plain.at(-1)?.socket.close(1000, "closed on the page");
}

// --- the pool ---

let drawing = 0;

// Once a frame: hundreds of sessions may open in one, and each changes every slot behind it.
function draw() {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    drawNow();
  });
}

function drawNow() {
  const slots = $("slots");
  slots.classList.toggle("few", cap <= 24);
  while (slots.children.length > cap) slots.lastChild.remove();
  while (slots.children.length < cap) {
    const slot = document.createElement("button");
    slot.type = "button";
    slot.addEventListener("click", () => mine.get(Number(slot.dataset.number))?.socket.close(1000, "closed on the page"));
    const item = document.createElement("li");
    item.append(slot);
    slots.append(item);
  }
  const own = [...mine.values()].filter((session) => session.state !== "closed");
  const counted = own.filter((session) => session.state === "open").length;
  const others = Math.max(0, inFlight - counted);
  [...slots.children].forEach(({ firstChild: slot }, index) => {
    const session = own[index];
    const foreign = !session && index < own.length + others;
    slot.className = `slot ${session ? `on ${session.kind} ${session.state}` : foreign ? "on other" : ""}`;
    slot.dataset.number = session?.number ?? "";
    slot.textContent = session ? session.number : "";
    slot.disabled = !session;
    slot.title = session ? `Session ${session.number}: press to close it` : foreign ? "A session of another page" : known ? "Free" : "Unknown";
    slot.setAttribute("aria-label", slot.title);
  });
  $("in-flight").textContent = known ? inFlight : "–";
  $("cap").textContent = cap;
  $("close-one").disabled = $("close-all").disabled = !own.length;
}

function hear(answered) {
  known = answered;
  const words = answered ? "" : "The proxy does not answer; trying again.";
  if ($("silent").textContent !== words) $("silent").textContent = words;
  $("slots").classList.toggle("unknown", !answered);
  if (!answered) {
    gate = null;
    $("gate").textContent = GATE;
  }
  draw();
}

let looking = 0;

// Reads the public capacity answer, soon after something happened and every two seconds otherwise.
function look(delay) {
  clearTimeout(looking);
  if (document.hidden) return;
  looking = setTimeout(async () => {
    try {
      const answer = await (await fetch(CAPACITY, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_TIMEOUT) })).json();
      inFlight = answer.instance.inFlight;
      cap = answer.instance.max;
      // This page asks often because it is a demo; elsewhere the badge asks by itself, every ten seconds.
      $("badge").reading = answer;
      judgeGate(answer.cluster.level !== "critical");
      hear(true);
    } catch {
      // The proxy is restarting or gone; the next look tells. What it said before is no longer so.
      inFlight = 0;
      $("badge").reading = null;
      hear(false);
    }
    look(2000);
  }, delay);
}
document.addEventListener("visibilitychange", () => look(0));

for (const button of document.querySelectorAll("[data-open]")) {
  button.addEventListener("click", () => openMany(Number(button.dataset.open)));
}
// The last answer may be older than what this page opened since.
const free = () => Math.max(0, cap - Math.max(inFlight, mine.size));
$("fill").addEventListener("click", () => openMany(free()));
$("refuse").addEventListener("click", async () => {
  await openMany(free());
  openEcho();
});
$("close-one").addEventListener("click", closeOne);
$("close-all").addEventListener("click", () => {
  for (const session of mine.values()) session.socket.close(1000, "closed on the page");
});
$("unreachable").addEventListener("click", () => open("/nobody", "app"));
$("log-clear").addEventListener("click", () => $("log").replaceChildren());

const GATE = $("gate").textContent;
let gate = null; // what it said: true, false, or null when that is over

// What the gate said is true of that moment: it goes when the pool has become another.
function judgeGate(room) {
  if (gate === null || gate === room) return;
  gate = null;
  $("gate").textContent = room ? "There is room again." : GATE;
}

// What a "Run Jupyter" button does: ask first, start only if there is room.
async function askGate() {
  const answer = await fetch(`${CAPACITY}/admission`, { method: "POST", signal: AbortSignal.timeout(ANSWER_TIMEOUT) }).catch(() => null);
  if (!answer) {
    note("gate", "no answer", "bad");
    look(0);
    return false;
  }
  gate = answer.status === 204;
  if (gate) {
    $("gate").textContent = "204: there is a free slot, go ahead.";
    note("gate", "204 No Content", "good");
    return true;
  }
  const { errorMsg } = await answer.json();
  $("gate").textContent = `${answer.status}: ${errorMsg}. Retry after ${answer.headers.get("Retry-After")} s.`;
  note("gate", `${answer.status} ${errorMsg}`, "bad");
  return false;
}
$("ask").addEventListener("click", askGate);
$("start").addEventListener("click", async () => {
  if (await askGate()) openEcho();
});

// --- echo ---

function panel(name, start) {
  const state = { session: null };
  const toggle = $(`${name}-toggle`);
  state.show = (words) => {
    $(`${name}-state`).textContent = words;
    toggle.textContent = state.session ? "Close" : "Open";
  };
  state.ensure = () => {
    if (!state.session) {
      state.session = start(state);
      state.show("opening…");
    }
    return state.session;
  };
  toggle.addEventListener("click", () => {
    if (state.session) state.session.socket.close(1000, "closed on the page");
    else {
      state.ensure();
      $(`${name}-input`).focus();
    }
  });
  return state;
}

function atEnd(screen, change) {
  const follows = screen.scrollTop + screen.clientHeight > screen.scrollHeight - 40;
  change();
  if (follows) screen.scrollTop = screen.scrollHeight;
}

function say(words, style, took) {
  const screen = $("echo-screen");
  atEnd(screen, () => {
    const line = document.createElement("p");
    line.className = style;
    line.textContent = words;
    if (took !== undefined) {
      const small = document.createElement("small");
      small.textContent = `${took.toFixed(1)} ms`;
      line.append(small);
    }
    screen.append(line);
    while (screen.children.length > 200) screen.firstChild.remove();
  });
}

const sent = [];
const echo = panel("echo", (state) => {
  const session = open("/echo", "app", {
    open: () => state.show(`session #${session.number}`),
    message: (data) => {
      const first = sent.shift();
      if (first && first.hidden) return;
      say(data, "", first && performance.now() - first.at);
    },
    close: (event, wasRefused) => {
      state.session = null;
      sent.length = 0;
      state.show("closed");
      say(wasRefused ? `refused: ${event.code} ${event.reason}` : `closed: ${event.code}`, "note");
    },
  });
  // One message nobody sees: its echo proves that the session was not a refusal.
  session.socket.addEventListener("open", () => {
    for (const waiting of sent) waiting.at = performance.now(); // the round trip, without the opening
    sent.unshift({ hidden: true });
    session.socket.send("hello");
    for (const waiting of session.waiting ?? []) session.socket.send(waiting);
  });
  return session;
});
$("echo-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = $("echo-input").value;
  if (!words) return;
  $("echo-input").value = "";
  const { socket } = echo.ensure();
  say(words, "mine");
  sent.push({ at: performance.now() });
  if (socket.readyState === WebSocket.OPEN) socket.send(words);
  else (echo.session.waiting ??= []).push(words);
});

// --- shell ---

const MOST_TEXT = 200_000;
function print(text, style) {
  const screen = $("shell-screen");
  atEnd(screen, () => {
    const part = document.createElement("span");
    if (style) part.className = style;
    part.textContent = text;
    screen.append(part);
    while (screen.textContent.length > MOST_TEXT && screen.children.length > 1) screen.firstChild.remove();
  });
}

const history = [];
let back = 0;
const shell = panel("shell", (state) => {
  const session = open("/shell", "terminal", {
    open: () => state.show(`session #${session.number}`),
    message: (data) => {
      print(data.length > 200_000 ? `one frame of ${data.length.toLocaleString()} characters\n` : data);
      while (session.waiting?.length) {
        const line = session.waiting.shift();
        print(`${line}\n`);
        session.socket.send(line);
      }
    },
    close: (event, wasRefused) => {
      state.session = null;
      state.show("closed");
      print(`\n[${wasRefused ? "refused" : "closed"}: ${event.code}${event.reason ? ` ${event.reason}` : ""}]\n`, "note");
    },
  });
  return session;
});
$("shell-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const line = $("shell-input").value;
  $("shell-input").value = "";
  if (line) history.push(line);
  back = history.length;
  const session = shell.ensure();
  if (session.state === "open") {
    print(`${line}\n`);
    session.socket.send(line);
  } else {
    (session.waiting ??= []).push(line);
  }
});
$("shell-input").addEventListener("keydown", (event) => {
  if (event.ctrlKey && event.key === "c" && !getSelection().toString()) {
    shell.session?.socket.send("\x03");
  } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
    back = Math.min(history.length, Math.max(0, back + (event.key === "ArrowUp" ? -1 : 1)));
    event.target.value = history[back] ?? "";
  } else {
    return;
  }
  event.preventDefault();
});
$("shell-stop").addEventListener("click", () => {
  if (shell.session?.state === "open") shell.session.socket.send("\x03");
});

// --- start ---

const about = await (await fetch("/about.json")).json();
cap = about.cap;
$("status").href = about.admin;
$("metrics").href = `${about.admin}metrics`;
$("version").textContent = `Bascule ${about.version}`;
draw();
look(0);

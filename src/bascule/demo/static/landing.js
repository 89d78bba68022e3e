// The landing page of the demo with real tools.

const $ = (id) => document.getElementById(id);
const badge = $("badge");

// The address this page was opened with opens JupyterLab too.
$("lab").search = location.search;

const about = await (await fetch("/about.json")).json();
$("status").href = about.admin;
$("metrics").href = `${about.admin}metrics`;
$("version").textContent = `Bascule ${about.version}`;

function show(answer) {
  $("in-flight").textContent = answer?.instance.inFlight ?? "–";
  if (answer) $("cap").textContent = answer.instance.max;
  badge.reading = answer;
  const words = answer ? "" : "The proxy does not answer; trying again.";
  if ($("silent").textContent !== words) $("silent").textContent = words;
}

async function look() {
  if (!document.hidden) {
    try {
      const reply = await fetch("/.bascule/capacity", { cache: "no-store", signal: AbortSignal.timeout(5000) });
      show(await reply.json());
    } catch {
      show(null); // what it said before is no longer so
    }
  }
  setTimeout(look, 2000);
}
look();

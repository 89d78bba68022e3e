// The landing page of the demo with real tools.

const $ = (id) => document.getElementById(id);
const badge = $("badge");

// The address this page was opened with opens JupyterLab too.
$("lab").search = location.search;

const about = await (await fetch("/about.json")).json();
$("status").href = about.admin;
$("metrics").href = `${about.admin}metrics`;
$("version").textContent = `Bascule ${about.version}`;

async function look() {
  if (!document.hidden) {
    const answer = await fetch("/.bascule/capacity", { cache: "no-store" }).then((reply) => reply.json(), () => null);
    if (answer) {
      $("in-flight").textContent = answer.instance.inFlight;
      $("cap").textContent = answer.instance.max;
      badge.reading = answer;
    }
  }
  setTimeout(look, 2000);
}
look();

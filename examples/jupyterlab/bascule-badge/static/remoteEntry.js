// Bascule's capacity badges in JupyterLab's top bar: a prebuilt extension, written by hand.
//
// JupyterLab loads an extension from a script that leaves a container with `init` and `get` in `_JUPYTERLAB`, as
// webpack's module federation does. That is the whole interface, so nothing needs to be built.
//
// The element comes from the proxy in front. Without one (JupyterLab opened directly) nothing is shown.

(() => {
  const BADGE = "/.bascule/badge.js";
  const ROOM = 1100; // pixels of window below which the badges would push the menu aside
  let shared;

  // JupyterLab's own Widget class, from what it shares with extensions.
  async function lumino() {
    const [version] = Object.values(shared["@lumino/widgets"]);
    return (await version.get())();
  }

  function follow(element) {
    const body = document.body;
    const paint = () => element.setAttribute("theme", body.dataset.jpThemeLight === "false" ? "dark" : "light");
    new MutationObserver(paint).observe(body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
    paint();
    const narrow = matchMedia(`(max-width: ${ROOM}px)`);
    const fit = () => element.setAttribute("scope", narrow.matches ? "cluster" : "both");
    narrow.addEventListener("change", fit);
    fit();
  }

  async function activate(app) {
    try {
      await import(BADGE);
    } catch {
      return;
    }
    const { Widget } = await lumino();
    const element = document.createElement("bascule-capacity");
    element.style.setProperty("--align", "end"); // the top bar ends here
    follow(element);
    const node = document.createElement("div");
    node.style.cssText = "display: flex; align-items: center; flex: none; padding: 0 8px;";
    node.append(element);
    const widget = new Widget({ node });
    widget.id = "bascule-capacity";
    app.shell.add(widget, "top", { rank: 1000 });
  }

  const plugin = {
    id: "bascule-badge:plugin",
    description: "Shows how full Bascule is.",
    autoStart: true,
    activate: (app) => void app.restored.then(() => activate(app)),
  };

  (globalThis._JUPYTERLAB ??= {})["bascule-badge"] = {
    init(scope) {
      shared = scope;
    },
    async get() {
      return () => ({ __esModule: true, default: plugin });
    },
  };
})();

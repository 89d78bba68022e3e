// Small charts drawn as SVG: an area with a cap, and bars. No state beyond the element they draw into.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 100;

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", timeZoneName: "short" });
}

// One chart: keeps its SVG and tooltip, redraws from whole series.
class Chart {
  constructor(host, label) {
    this.host = host;
    this.label = label;
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
    this.tip = document.createElement("span");
    this.tip.className = "tip";
    this.note = document.createElement("span");
    host.replaceChildren(this.svg, this.tip, this.note);
    this.times = [];
    this.slots = 1;
    this.describe = () => "";
    host.addEventListener("pointermove", (event) => this.point(event));
    host.addEventListener("pointerleave", () => this.leave());
  }

  // Where sample `index` stands: the newest at the right edge, an hour that is not full yet starts inside.
  x(index) {
    return WIDTH * (1 - (this.times.length - 1 - index) / Math.max(1, this.slots - 1));
  }

  point(event) {
    if (!this.times.length) return;
    const box = this.host.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    const back = Math.round((1 - share) * (this.slots - 1));
    const index = this.times.length - 1 - back;
    if (index < 0 || index >= this.times.length) return this.leave();
    const x = this.x(index);
    this.cross.setAttribute("x1", x);
    this.cross.setAttribute("x2", x);
    this.cross.style.visibility = "visible";
    this.tip.textContent = `${clock(this.times[index])} · ${this.describe(index)}`;
    this.tip.style.visibility = "visible";
    const left = Math.min(Math.max(0, (x / WIDTH) * box.width - this.tip.offsetWidth / 2), box.width - this.tip.offsetWidth);
    this.tip.style.left = `${left}px`;
  }

  leave() {
    if (this.cross) this.cross.style.visibility = "hidden";
    this.tip.style.visibility = "hidden";
  }

  finish(shapes, spoken) {
    const seen = this.cross ? this.cross.style.visibility : "hidden";
    const x = this.cross ? this.cross.getAttribute("x1") : 0;
    this.cross = shape("line", { class: "cross", y1: 0, y2: HEIGHT, x1: x, x2: x });
    this.cross.style.visibility = seen || "hidden";
    this.svg.replaceChildren(...shapes, this.cross);
    this.svg.setAttribute("aria-label", `${this.label}: ${spoken}`);
  }
}

export class AreaChart extends Chart {
  // Without `caps` the scale is the values' own and no line is drawn across; `say` names a value in the tooltip.
  draw({ times, values, caps, slots, say }) {
    this.times = times;
    this.slots = slots;
    const cap = caps?.length ? caps[caps.length - 1] : 0;
    const top = Math.max(cap, 1, ...values) * 1.08;
    const y = (value) => HEIGHT * (1 - value / top);
    const points = values.map((value, index) => `${this.x(index).toFixed(1)} ${y(value).toFixed(2)}`);
    const first = this.x(0).toFixed(1);
    this.describe = (index) => say(values[index], index);
    this.note.className = "cap-text";
    this.note.textContent = cap ? `cap ${cap.toLocaleString()}` : "";
    this.note.style.top = `${y(cap)}%`;
    this.finish(
      [
        shape("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
        ...(points.length > 1
          ? [
              shape("path", { class: "area", d: `M${first} ${HEIGHT}L${points.join("L")}L${WIDTH} ${HEIGHT}Z` }),
              shape("path", { class: "line", d: `M${points.join("L")}` }),
            ]
          : []),
        ...(cap ? [shape("line", { class: "cap", x1: 0, x2: WIDTH, y1: y(cap), y2: y(cap) })] : []),
      ],
      values.length
        ? `now ${say(values[values.length - 1], values.length - 1)}, highest ${Math.max(...values).toLocaleString()}`
        : "no samples yet",
    );
  }
}

export class BarChart extends Chart {
  // Over an hour ten-second samples are drawn as minutes: sixty bars can be told apart, 360 cannot.
  draw({ times, values, slots, every, style, unit, span }) {
    const per = slots > 60 ? Math.max(1, Math.round(60 / every)) : 1;
    const ends = [];
    const sums = [];
    for (let end = times.length; end > 0; end -= per) {
      ends.unshift(times[end - 1]);
      sums.unshift(values.slice(Math.max(0, end - per), end).reduce((a, b) => a + b, 0));
    }
    this.times = ends;
    this.slots = Math.ceil(slots / per);
    const step = WIDTH / this.slots;
    this.x = (index) => WIDTH - (sums.length - index - 0.5) * step;
    const top = Math.max(4, ...sums);
    const total = sums.reduce((a, b) => a + b, 0);
    this.describe = (index) => `${sums[index]} ${unit}`;
    this.note.className = "none";
    this.note.textContent = total ? "" : "none";
    const bars = sums.map((sum, index) => {
      const height = sum ? Math.max(4, (HEIGHT * sum) / top) : 0;
      const x = WIDTH - (sums.length - index) * step;
      return shape("rect", { class: `bar ${style}`, x: x + step * 0.12, y: HEIGHT - height, width: step * 0.76, height });
    });
    this.finish([shape("line", { class: "base", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }), ...bars], `${total} in the last ${span}`);
    return total;
  }
}

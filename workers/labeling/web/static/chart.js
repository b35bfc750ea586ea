// Where a part's score lies among known-good parts: a small picture, without words.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 260;
const HEIGHT = 48;

export function scoreChart({ anomaly_score, ok_threshold, ng_threshold, known_good }) {
  const chart = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", "aria-hidden": true });
  const good = known_good?.good ?? [];
  const most = Math.max(1, ...good);
  const step = WIDTH / good.length;
  good.forEach((count, i) => {
    const height = (count / most) * (HEIGHT - 8);
    chart.append(make("rect", { class: "good", x: i * step, y: HEIGHT - height, width: step - 1, height }));
  });
  for (const threshold of [ok_threshold, ng_threshold]) chart.append(line("threshold", threshold));
  chart.append(line("here", anomaly_score));
  return chart;
}

function line(kind, score) {
  const x = score * WIDTH;
  return make("line", { class: kind, x1: x, x2: x, y1: 0, y2: HEIGHT });
}

function make(name, facts) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(facts)) made.setAttribute(key, value);
  return made;
}

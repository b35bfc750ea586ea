// The queue for who may look and not decide: what waits, for how long, and who has it. Nothing is claimed.

import { api } from "/pages/api.js";

const OFTEN = 3000;

export class Onlooker {
  constructor(root, words) {
    Object.assign(this, { root, words });
    root.classList.add("onlooker");
    root.replaceChildren(element("p", words.no_writing), document.createElement("table"));
  }

  open() {
    const look = () => document.hidden || this.show().catch(() => {}); // asked again soon
    look();
    setInterval(look, OFTEN);
  }

  async show() {
    const { words } = this;
    const heads = [words.part, words.station, words.reviews, words.score, words.since, words.held_by];
    const rows = (await api.open()).map((one) => this.row(one));
    this.root.querySelector("table").replaceChildren(line("th", heads), ...rows);
  }

  row({ inspection_id, part_id, station, reason, anomaly_score, opened_at, holder }) {
    const link = element("a", part_id ?? inspection_id.slice(-8));
    link.href = `/part/${inspection_id}`;
    const since = new Date(opened_at).toLocaleString();
    return line("td", [link, station, this.words[`reason_${reason}`], anomaly_score?.toFixed(2) ?? "", since, holder ?? ""]);
  }
}

function line(kind, cells) {
  const row = document.createElement("tr");
  row.append(...cells.map((cell) => {
    const made = document.createElement(kind);
    made.append(cell);
    return made;
  }));
  return row;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

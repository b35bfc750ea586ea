// The line as it runs. Nothing can be changed here; texts are set as text, never as HTML.

import { line } from "/pages/api.js";

const OFTEN = 2000;
const SELDOM = 6000;
const RARELY = 60000;
const VERDICTS = ["OK", "NG", "REVIEW", "ERROR"];

export default {
  props: { words: Object },
  template: `<div class="line">
    <p class="banner" role="alert" hidden></p>
    <section class="tiles"></section>
    <section class="stations"></section>
    <section class="last"><h2></h2><ol></ol></section>
    <section class="workers"><h2></h2><ul></ul><h2 class="agreeing"></h2><div class="agreement"></div></section>
  </div>`,
  mounted() {
    this.page = new LinePage(this.$el, this.words);
  },
  unmounted() {
    this.page.close();
  },
};

class LinePage {
  constructor(root, words) {
    Object.assign(this, { root, words });
    this.find(".last h2").textContent = words.last_verdicts;
    this.find(".workers h2").textContent = words.worker;
    this.find(".agreeing").textContent = words.agreement;
    this.timers = [
      this.repeat(() => this.status(), OFTEN),
      this.repeat(() => this.estimates(), SELDOM),
      this.repeat(() => this.agreement(), RARELY),
    ];
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  repeat(show, milliseconds) {
    const run = () => document.hidden || show().catch(() => this.root.classList.add("away"));
    run();
    return setInterval(run, milliseconds);
  }

  close() {
    this.timers.forEach(clearInterval);
  }

  async status() {
    const [state, parts] = await Promise.all([line.status(), line.parts(45)]);
    this.root.classList.remove("away");
    const { p50, p99 } = state.latency_ms;
    this.tiles("state", [
      [this.words.state, this.words[`state_${state.state}`], state.state],
      [this.words.parts_per_minute, state.parts_per_minute.toFixed(0)],
      [this.words.parts, state.parts],
      [this.words.latency, p50 == null ? "–" : `${p50.toFixed(0)} / ${p99.toFixed(0)} ms`],
    ]);
    this.tiles("training", this.training(state.workers));
    this.find(".last ol").replaceChildren(...parts.map((part) => this.part(part)));
    this.find(".workers ul").replaceChildren(...state.workers.map((worker) => this.worker(worker)));
  }

  async estimates() {
    const [stations, queue] = await Promise.all([line.stations(), line.queue()]);
    const { words } = this;
    const oldest = queue.open ? words.oldest.replace("{age}", age(queue.oldest_seconds)) : "";
    const held = `${words.leased}: ${queue.leased}`;
    this.tiles("queue", [
      [words.open_reviews, queue.open, "", `${oldest} · ${held}`],
      [words.overdue, queue.overdue, queue.overdue ? "held" : ""],
    ]);
    const limit = age(60 * queue.ageing_minutes);
    this.find(".banner").hidden = !queue.overdue;
    this.find(".banner").textContent = words.overdue_told.replace("{count}", queue.overdue).replace("{age}", limit);
    this.find(".stations").replaceChildren(...stations.map((station) => this.station(station)));
  }

  training(workers) {
    const facts = workers.map((worker) => worker.facts.training).find((found) => found);
    if (!facts) return [];
    const wanted = Object.entries(facts.after_labels).filter(([, labels]) => labels);
    const rows = wanted.map(([recipe, labels]) => [
      this.words.new_labels, facts.new_labels[recipe], "", this.words.retrained_after.replace("{labels}", labels),
    ]);
    const run = facts.newest;
    if (!run) return rows;
    const state = this.words[run.promoted ? "run_promoted" : `run_${run.state}`];
    const share = run.state === "running" ? ` ${run.phase ?? ""} ${(100 * run.progress).toFixed(0)} %` : "";
    rows.push([this.words.training, state + share, "", run.sentence ?? run.error ?? run.detail]);
    if (run.f1_after != null) {
      rows.push([this.words.f1, `${run.f1_before.toFixed(3)} → ${run.f1_after.toFixed(3)}`, "", this.words.f1_hint]);
    }
    return rows;
  }

  async agreement() {
    const { overall, pairs } = await line.agreement();
    const rows = pairs.map((pair) => element("p", "", [element("b", "", pair.people.join(", ")), " ", this.agreed(pair)]));
    const whole = overall ? [element("p", "whole", this.agreed(overall))] : [element("p", "", this.words.agreement_none)];
    this.find(".agreement").replaceChildren(...whole, ...rows);
  }

  agreed({ parts, agreed, kappa }) {
    const share = this.words.agreed_of.replace("{percent}", (100 * agreed).toFixed(0)).replace("{count}", parts);
    return [kappa == null ? "" : `${this.words.kappa.replace("{kappa}", kappa.toFixed(2))} · `, share].join("");
  }

  tiles(group, rows) {
    const made = rows.map(([name, value, kind, small]) => {
      const tile = element("div", "tile", [element("span", "", name), element("strong", kind ?? "", `${value}`)]);
      if (small) tile.append(element("small", "", small));
      tile.dataset.group = group;
      return tile;
    });
    this.root.querySelectorAll(`.tile[data-group=${group}]`).forEach((tile) => tile.remove());
    this.find(".tiles")[group === "state" ? "prepend" : "append"](...made);
  }

  station({ station, verdicts, parts_per_minute, escapes, false_rejects, good_in_review }) {
    const total = VERDICTS.reduce((sum, name) => sum + verdicts[name], 0) || 1;
    const bar = element("div", "shares", VERDICTS.filter((name) => verdicts[name]).map((name) => {
      const share = element("i", name);
      share.style.flexGrow = verdicts[name] / total;
      return share;
    }));
    const counts = element("p", "counts", VERDICTS.map((name) => element("span", name, `${name} ${verdicts[name]}`)));
    return element("article", "", [
      element("h2", "", [element("b", "", station), ` ${parts_per_minute} / min`]), bar, counts,
      this.rate("escapes", escapes), this.rate("false_rejects", false_rejects),
      this.rate("good_in_review", good_in_review),
    ]);
  }

  rate(name, rate) {
    const percent = (share) => `${(100 * share).toFixed(1)} %`;
    const said = rate
      ? [
          element("strong", "", percent(rate.share)),
          rate.low == null ? "" :
            " " + this.words.interval.replace("{low}", percent(rate.low)).replace("{high}", percent(rate.high)),
          element("small", "", this.words.of_decided.replace("{found}", rate.found).replace("{decided}", rate.decided)),
        ]
      : [element("small", "", this.words.no_sample)];
    const hint = element("small", "hint", this.words[`${name}_hint`]);
    return element("p", `rate ${name}`, [element("span", "", this.words[name]), ...said, hint]);
  }

  part({ inspection_id, part_id, station, verdict, anomaly_score }) {
    const link = element("a", "", part_id ?? inspection_id.slice(-8));
    link.href = `/part/${inspection_id}`;
    const score = anomaly_score == null ? "" : anomaly_score.toFixed(2);
    return element("li", verdict ?? "", [element("b", "", verdict ?? "…"), link, element("span", "", score), station]);
  }

  worker({ name, state, detail, restarts }) {
    const told = restarts ? `${state}, ${this.words.restarts.toLowerCase()}: ${restarts}` : state;
    const item = element("li", state, [element("b", "", name), element("span", "", told)]);
    item.title = detail;
    return item;
  }
}

function element(name, kind = "", content = []) {
  const made = document.createElement(name);
  made.className = kind;
  made.append(...(Array.isArray(content) ? content : [content]));
  return made;
}

function age(seconds) {
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

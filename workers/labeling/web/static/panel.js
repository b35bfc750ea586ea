// What is around the picture: facts, golden sample, similar parts, buttons, notices. Texts are set as text, never as HTML.

import { imageUrl, serverNow, thumbnailUrl } from "/pages/api.js";
import { scoreChart } from "/pages/chart.js";

const NOTICE_MILLISECONDS = 6000;
const SHORT_SECONDS = 10;
const EXAMPLES = 4;
const NINE = 9;

export function layout(words) {
  const button = (key, name, kind = "") =>
    `<button type="button" data-key="${key}" class="${kind}"><kbd>${key.toUpperCase()}</kbd> ${words[name]}</button>`;
  return `
    <section class="stage">
      <canvas tabindex="0" aria-label="${words.part}"></canvas>
      <p class="empty" hidden></p>
      <p class="notice" role="alert" hidden></p>
      <div class="tools">
        ${button("h", "heat")}<input type="range" name="heat" min="0" max="1" step="0.05" value="0.55" tabindex="-1"
          aria-label="${words.heat}">
        ${button("m", "accept")}${button("b", "box")}${button("p", "polygon")}${button("e", "brush")}
        ${button("x", "eraser")}<span class="with-brush" hidden>${sign("[", "−", words.smaller)}${sign("]", "+", words.larger)}</span>
        <span class="with-polygon" hidden>${sign("Enter", "↵", words.close_polygon)}</span>
        ${button("0", "fit")}<span class="with-views" hidden>${button("v", "next_view")}</span>
      </div>
    </section>
    <aside class="side">
      <dl class="facts"></dl>
      <div class="score"></div>
      <figure class="golden"><figcaption>${words.golden}<small></small></figcaption><img alt=""></figure>
      <label class="note"><kbd>T</kbd> ${words.note}<input name="note" maxlength="4000" placeholder="…"></label>
    </aside>
    <section class="similar"><h2></h2><ol></ol></section>
    <nav class="decide">
      ${button("o", "normal", "normal")}${button("n", "anomaly", "anomaly")}
      <span class="classes"></span>
      <button type="button" data-key="d" class="more-classes" hidden><kbd>D</kbd> ${words.more_classes}</button>
      ${button("c", "cannot_tell")}${button("s", "skip")}${button("g", "group")}${button("u", "undo")}
      ${button("f", "filter")}${button("?", "help")}
    </nav>
    <dialog class="keys help" tabindex="-1"><h2>${words.help}</h2><dl>${keys(words)}</dl><h2>${words.defect_book}</h2>
      <ol class="book"></ol></dialog>
    <dialog class="keys wish"><h2>${words.filter}</h2>
      ${choice(words, "station")}${choice(words, "product")}${choice(words, "policy")}
      <button type="button">${words.close}</button></dialog>`;
}

// A button that says it with a sign.
function sign(key, text, meaning) {
  return `<button type="button" data-key="${key}" title="${meaning}" aria-label="${meaning}">${text}</button>`;
}

function choice(words, name) {
  return `<label>${words[name]} <select name="${name}"></select></label>`;
}

function keys(words) {
  const rows = [
    ["O", "normal"], ["N", "anomaly"], ["C", "cannot_tell"], ["1-9", "defect_class"], ["D", "more_classes"], ["M", "accept"],
    ["B", "box"], ["P", "polygon"], ["E", "brush"], ["X", "eraser"], ["[ ]", "brush_size"], ["U", "undo"],
    ["S", "skip"], ["G", "group"], ["F", "filter"], ["H", "heat"], ["T", "note"], ["V", "next_view"], ["+ -", "zoom"], ["0", "fit"],
    ["← ↑ → ↓", "move"], ["?", "help"],
  ];
  return rows.map(([key, name]) => `<dt><kbd>${key}</kbd></dt><dd>${words[name]}</dd>`).join("");
}

export class Panel {
  constructor(root, words) {
    this.root = root;
    this.words = words;
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  get helpIsOpen() {
    return this.find(".help").open;
  }

  help(opens) {
    const help = this.find(".help");
    if (!opens) return help.close();
    help.show();
    help.focus(); // so that the arrow keys scroll it
  }

  // Which review is shown.
  get shown() {
    return this.root.dataset.review;
  }

  show(card, isLoading) {
    this.root.dataset.review = card?.id ?? "";
    this.find(".empty").hidden = Boolean(card);
    this.find(".empty").textContent = this.words[isLoading ? "loading" : "nothing"];
    if (card?.isReady && !card.view.picture) this.unseen();
    this.find("[name=note]").value = card?.note ?? "";
    this.facts(card);
    this.score(card?.view);
    this.golden(card?.view?.golden);
    this.proposal(card?.view?.proposal);
    this.find(".with-views").hidden = !(card?.views?.length > 1);
  }

  facts(card) {
    const { sight, lease } = card ?? {};
    const rows = sight
      ? [
          ["station", sight.station],
          ["part", sight.part_id ?? sight.inspection_id.slice(-8)],
          ["lot", sight.lot],
          ["camera", card.views.length > 1 ? `${card.view.camera} ${card.place + 1}/${card.views.length}` : null],
          [null, this.words[`reason_${sight.reason}`]],
          ["lease", ""],
        ]
      : [];
    this.find(".facts").replaceChildren(
      ...rows.filter(([, value]) => value !== null).flatMap(([name, value]) => [
        element("dt", name ? this.words[name] : ""),
        name === "part" ? partLink(sight.inspection_id, value) : element("dd", value, name === "lease" ? "lease" : ""),
      ]),
    );
    this.lease(lease);
  }

  lease(lease) {
    const place = this.find(".lease");
    if (!place || !lease) return;
    const seconds = Math.max(0, Math.round((Date.parse(lease.lease_until) - serverNow()) / 1000));
    place.textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
    place.classList.toggle("short", seconds < SHORT_SECONDS);
  }

  score(view) {
    const place = this.find(".score");
    if (view?.anomaly_score == null) return place.replaceChildren();
    const percent = view.known_good?.percentile;
    place.replaceChildren(
      element("span", `${this.words.score} `),
      element("strong", view.anomaly_score.toFixed(2)),
      ...(percent == null ? [] : [element("small", this.words.above_good.replace("{percent}", percent.toFixed(0)))]),
      scoreChart(view),
    );
  }

  golden(golden) {
    const by = golden && (golden.decided_by
      ? this.words.golden_by.replace("{person}", golden.decided_by)
      : this.words.golden_by_model);
    this.find(".golden small").textContent = by ?? this.words.golden_none;
    const picture = this.find(".golden img");
    if (golden) picture.src = imageUrl(golden.sha256);
    picture.hidden = !golden;
  }

  // Without a proposal there is nothing to accept.
  proposal(proposal) {
    const button = this.find(".tools [data-key=m]");
    button.disabled = !proposal;
    button.title = proposal ? "" : this.words.no_proposal;
  }

  // Beneath the picture: the group that is decided together, else what was decided of parts like this one.
  // alike: how many open parts could be a group with it.
  group(card, alike) {
    const button = this.find(".decide [data-key=g]");
    const { group = [], sight } = card ?? {};
    button.replaceChildren(element("kbd", "G"), ` ${this.words.group}${alike ? ` (${alike})` : ""}`);
    button.setAttribute("aria-pressed", group.length > 0);
    button.classList.toggle("offered", alike > 0);
    const parts = sight?.similar ?? [];
    const shown = group.length ? group.map((one) => this.member(one, card)) : parts.map((part) => this.decided(part));
    this.find(".similar ol").replaceChildren(...shown);
    this.groupHeading(card, alike);
  }

  groupHeading(card, alike) {
    const chosen = card?.group.filter((one) => one.chosen) ?? [];
    const offer = alike ? [this.words.group_offer.replace("{count}", alike)] : [];
    const decided = this.words[card?.sight?.similar.length || !card ? "similar" : "similar_none"];
    const heading = card?.group.length ? this.words.group_of.replace("{count}", chosen.length + 1) : [...offer, decided].join(" · ");
    this.find(".similar h2").textContent = heading;
  }

  decided({ label, views }) {
    const told = label.defects.join(", ") || this.words[label.decision];
    const item = figure(views[0]?.sha256, told, label.decision);
    const when = new Date(label.decided_at).toLocaleString();
    item.title = [this.words[label.decision], label.decided_by, when, label.note].join("\n");
    return item;
  }

  member(one, card) {
    const view = one.sight.views[0];
    const item = element("li");
    const button = element("button");
    button.type = "button";
    button.append(...figure(view?.sha256, view?.anomaly_score?.toFixed(2) ?? "").childNodes);
    const show = () => {
      button.setAttribute("aria-pressed", one.chosen);
      item.className = one.chosen ? "chosen" : "";
    };
    button.addEventListener("click", () => {
      one.chosen = !one.chosen;
      show();
      this.groupHeading(card, 0);
    });
    show();
    item.append(button);
    return item;
  }

  // All of them; the number keys are those of one page of nine.
  classes(defects, card, page) {
    const buttons = defects.map((defect, i) => {
      const button = element("button");
      const key = i - NINE * page + 1;
      button.type = "button";
      button.dataset.class = i;
      button.title = `${defect.name}: ${defect.definition}`;
      button.setAttribute("aria-pressed", card?.chosen.has(defect.name) ?? false);
      if (key >= 1 && key <= NINE) button.append(element("kbd", key), " ");
      button.append(defect.name);
      return button;
    });
    this.find(".classes").replaceChildren(...buttons);
    this.find(".more-classes").hidden = defects.length <= NINE;
  }

  // Each class with what it means, how bad it is, and what it looks like.
  book(defects) {
    const entries = defects.map((defect) => {
      const entry = element("li");
      const told = `${defect.name} · ${this.words[`severity_${defect.severity}`]}`;
      entry.append(element("b", told), element("span", defect.definition));
      entry.append(...defect.examples.slice(0, EXAMPLES).map((sha256) => thumbnail(sha256)));
      return entry;
    });
    this.find(".book").replaceChildren(...entries);
  }

  tools({ tool, erases, heat }) {
    this.find(".with-brush").hidden = tool !== "brush";
    this.find(".with-polygon").hidden = tool !== "polygon";
    const active = { h: heat.shown, b: tool === "box", p: tool === "polygon", e: tool === "brush" && !erases };
    active.x = tool === "brush" && erases;
    for (const [key, isOn] of Object.entries(active)) {
      this.find(`.tools [data-key=${key}]`).setAttribute("aria-pressed", isOn);
    }
  }

  status(desk, wish) {
    if (!desk) return;
    this.lease(desk.card?.lease);
    const waiting = desk.outbox.entries.length;
    const texts = [this.words.decided_count.replace("{count}", desk.decided)];
    if (waiting) texts.unshift(this.words.saving.replace("{count}", waiting));
    if (wish?.text) texts.push(wish.text);
    const place = document.getElementById("bar-status");
    place.textContent = texts.join(" · ");
    place.dataset.waiting = waiting;
    place.dataset.decided = desk.decided;
    if (desk.outbox.isAway) this.notice("away");
  }

  // A part whose picture no browser, or no camera, can show.
  unseen() {
    this.find(".empty").hidden = false;
    this.find(".empty").textContent = this.words.no_picture;
  }

  notice(kind, detail = "") {
    const place = this.find(".notice");
    place.textContent = this.words[kind].replace("{detail}", detail);
    place.hidden = false;
    clearTimeout(this.hiding);
    this.hiding = setTimeout(() => (place.hidden = true), NOTICE_MILLISECONDS);
  }

  typeNote() {
    setTimeout(() => this.find("[name=note]").focus());
  }
}

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = kind;
  return made;
}

function partLink(inspection, text) {
  const place = element("dd");
  const link = element("a", text);
  link.href = `/part/${inspection}`;
  place.append(link);
  return place;
}

function figure(sha256, text, kind) {
  const item = element("li", "", kind);
  item.append(...(sha256 ? [thumbnail(sha256)] : []), element("span", text));
  return item;
}

function thumbnail(sha256) {
  const picture = element("img");
  picture.src = thumbnailUrl(sha256);
  picture.alt = "";
  return picture;
}

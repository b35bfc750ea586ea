// The queue page: keys, buttons and what is around the picture.

import { api } from "/pages/api.js";
import { Desk } from "/pages/desk.js";
import { Onlooker } from "/pages/onlooker.js";
import { layout, Panel } from "/pages/panel.js";
import { Picture } from "/pages/picture.js";
import { Wish } from "/pages/wish.js";

const DECISIONS = { o: "normal", n: "anomaly", c: "cannot_tell" };
const TOOLS = { b: "box", p: "polygon", e: "brush" };
const STEP = 60;

export default {
  props: { words: Object, decides: Boolean },
  template: `<div class="desk"></div>`,
  mounted() {
    new QueuePage(this.$el, this.words, this.decides);
  },
};

class QueuePage {
  constructor(root, words, decides) {
    root.innerHTML = layout(words);
    this.panel = new Panel(root, words);
    this.picture = new Picture(root.querySelector("canvas"));
    this.decides = decides;
    this.defects = [];
    this.picture.onChange = () => this.desk.keep();
    this.picture.defect = () => this.desk.card?.firstDefect() ?? null;
    this.listen(root);
    if (decides) this.open();
    else new Onlooker(root, words).open();
  }

  async open() {
    this.desk = new Desk({
      show: (card, isLoading) => this.show(card, isLoading),
      notice: (kind, detail) => this.panel.notice(kind, detail),
      change: () => this.panel.status(this.desk, this.wish),
    });
    this.wish = new Wish(this.panel.find(".wish"), this.panel.words, () => this.desk.refill());
    this.wish.load().then(() => this.panel.status(this.desk, this.wish));
    Object.assign(window, { adlineDesk: this.desk, adlinePicture: this.picture }); // for whoever tests the page
    this.defects = await api.defects();
    this.defects = this.defects.filter((one) => !one.retired);
    this.panel.classes(this.defects, this.desk.card);
    this.panel.book(this.defects);
  }

  show(card, isLoading) {
    this.picture.show(card?.view ?? null, card?.drawing ?? null);
    this.panel.show(card, isLoading, this.defects);
  }

  listen(root) {
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("pointerdown", () => this.desk?.touched());
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-key]");
      if (button && this.desk) this.press(button.dataset.key);
    });
    root.querySelector("[name=heat]").addEventListener("input", (event) => this.setHeat(true, event.target.value));
    root.querySelector("[name=note]").addEventListener("keydown", (event) => this.noteKey(event));
  }

  key(event) {
    this.desk?.touched();
    const isTyping = event.target.matches("input:not([type=range]), textarea, select, dialog.wish *");
    if (!this.desk || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.press(event.key)) event.preventDefault();
  }

  // True when the key means something here.
  press(key) {
    const name = key.length === 1 ? key.toLowerCase() : key;
    if (this.panel.helpIsOpen && name !== "?") {
      this.panel.help(false);
      return true;
    }
    if (name in DECISIONS) this.desk.decide(DECISIONS[name]);
    else if (name in TOOLS) this.picture.choose(this.picture.tool === TOOLS[name] ? null : TOOLS[name]);
    else if (/^[1-9]$/.test(name)) this.defect(Number(name) - 1);
    else if (name in ACTIONS) ACTIONS[name](this);
    else return false;
    this.panel.tools(this.picture);
    return true;
  }

  defect(number) {
    const card = this.desk.card;
    const name = this.defects[number]?.name;
    if (!card || !name) return;
    if (!card.chosen.delete(name)) card.chosen.add(name);
    this.panel.classes(this.defects, card);
    this.desk.keep();
  }

  accept() {
    const card = this.desk.card;
    if (!card?.view?.proposal) return;
    card.drawing.accept(card.view.proposal, card.firstDefect());
    this.picture.changed();
  }

  undo() {
    if (this.desk.card?.isReady && this.desk.card.drawing.undo()) this.picture.changed();
    else this.desk.undo();
  }

  erase() {
    const isErasing = this.picture.tool === "brush" && this.picture.erases;
    this.picture.choose(isErasing ? null : "brush", !isErasing);
  }

  setHeat(shown, opacity = this.picture.heat.opacity) {
    this.picture.heat = { shown, opacity: Number(opacity) };
    this.picture.redraw();
    this.panel.tools(this.picture);
  }

  brushSize(factor) {
    this.picture.radius = Math.min(Math.max(this.picture.radius * factor, 0.5), 500);
    this.picture.redraw();
  }

  nextView() {
    const card = this.desk.card;
    if (!card?.isReady || card.views.length < 2) return;
    card.nextView();
    this.show(card);
  }

  noteKey(event) {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter" && this.desk.card) this.desk.card.note = event.target.value;
    event.target.value = this.desk.card?.note ?? "";
    event.target.blur();
    this.desk.keep();
  }
}

const ACTIONS = {
  m: (page) => page.accept(),
  u: (page) => page.undo(),
  s: (page) => page.desk.skip(),
  g: (page) => page.desk.group(),
  h: (page) => page.setHeat(!page.picture.heat.shown),
  x: (page) => page.erase(),
  t: (page) => page.panel.typeNote(),
  f: (page) => page.wish?.open(),
  v: (page) => page.nextView(),
  "[": (page) => page.brushSize(0.8),
  "]": (page) => page.brushSize(1.25),
  "+": (page) => page.picture.zoom(1.5),
  "=": (page) => page.picture.zoom(1.5),
  "-": (page) => page.picture.zoom(1 / 1.5),
  0: (page) => page.picture.fit(),
  Enter: (page) => page.picture.closePolygon(),
  Escape: (page) => page.picture.choose(null),
  ArrowLeft: (page) => page.picture.pan(STEP, 0),
  ArrowRight: (page) => page.picture.pan(-STEP, 0),
  ArrowUp: (page) => page.picture.pan(0, STEP),
  ArrowDown: (page) => page.picture.pan(0, -STEP),
  "?": (page) => page.panel.help(!page.panel.helpIsOpen),
};

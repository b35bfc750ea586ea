// The queue page: keys, buttons and what is around the picture.

import { api, untilAnswered } from "/pages/api.js";
import { Desk } from "/pages/desk.js";
import { isOfButton, isWithOthers, keyOf, mayRepeat, scrolls } from "/pages/keys.js";
import { Onlooker } from "/pages/onlooker.js";
import { layout, Panel } from "/pages/panel.js";
import { Picture } from "/pages/picture.js";
import { Wish } from "/pages/wish.js";

const DECISIONS = { o: "normal", n: "anomaly", c: "cannot_tell" };
const TOOLS = { b: "box", p: "polygon", e: "brush" };
const STEP = 60;
const NINE = 9;

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
    this.note = root.querySelector("[name=note]");
    this.decides = decides;
    this.defects = [];
    this.classPage = 0; // which nine of the classes have the number keys
    this.picture.onChange = () => this.desk.keep();
    this.picture.defect = () => this.desk.card?.firstDefect() ?? null;
    this.listen(root);
    if (decides) this.open();
    else new Onlooker(root, words).open();
  }

  open() {
    this.desk = new Desk({
      show: (card, isLoading) => this.show(card, isLoading),
      group: (card) => this.group(card),
      notice: (kind, detail) => this.panel.notice(kind, detail),
      change: () => this.panel.status(this.desk, this.wish),
    });
    this.wish = new Wish(this.panel.find(".wish"), this.panel.words, () => this.desk.refill());
    Object.assign(window, { adlineDesk: this.desk, adlinePicture: this.picture }); // for whoever tests the page
    this.told(this.sure(() => this.wish.load()).then(() => this.panel.status(this.desk, this.wish)));
    this.told(this.sure(api.defects).then((book) => this.book(book)));
    this.wish.onFail = (error) => this.panel.notice("refused", error.message);
  }

  // Without the book no class can be chosen: it is asked for until it is there.
  sure(ask) {
    return untilAnswered(ask, () => this.panel.notice("away"));
  }

  told(asked) {
    asked.catch((error) => this.panel.notice("refused", error.message));
  }

  book(defects) {
    this.defects = defects.filter((one) => !one.retired);
    this.classes();
    this.panel.book(this.defects);
  }

  classes() {
    this.panel.classes(this.defects, this.desk.card, this.classPage);
  }

  show(card, isLoading) {
    this.picture.show(card?.view ?? null, card?.drawing ?? null);
    this.panel.show(card, isLoading);
    this.classes();
    this.panel.group(card, card?.isReady ? this.desk.alike(card) : 0);
  }

  // The group's first part has the focus: Tab goes through them, Enter leaves one out.
  group(card) {
    this.panel.group(card, this.desk.alike(card));
    this.panel.find(".similar li button")?.focus();
  }

  listen(root) {
    document.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("pointerdown", () => this.desk?.touched());
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-key], [data-class]");
      if (!button || !this.desk) return;
      if (button.dataset.class) this.defect(Number(button.dataset.class));
      else this.press(button.dataset.key);
    });
    root.querySelector("[name=heat]").addEventListener("input", (event) => this.setHeat(true, event.target.value));
    this.note.addEventListener("keydown", (event) => this.noteKey(event));
    this.note.addEventListener("focus", () => (this.noteBefore = this.note.value));
    for (const name of ["input", "blur"]) this.note.addEventListener(name, () => this.takeNote());
  }

  key(event) {
    this.desk?.touched();
    const isTyping = event.target.matches("input:not([type=range]), textarea, select, dialog.wish *");
    if (!this.desk || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const name = keyOf(event);
    if (event.repeat && !mayRepeat(name)) {
      if (!scrolls(name)) event.preventDefault(); // nor does Enter press a button again and again
    } else if (!isWithOthers(name) && !isOfButton(name, event.target) && this.press(name)) event.preventDefault();
  }

  // True when the key means something here.
  press(name) {
    if (this.panel.helpIsOpen && name !== "?") {
      if (scrolls(name)) return false;
      this.panel.help(false);
      return true;
    }
    if (name in DECISIONS) this.decide(DECISIONS[name]);
    else if (name in TOOLS) this.picture.choose(this.picture.tool === TOOLS[name] ? null : TOOLS[name]);
    else if (/^[1-9]$/.test(name)) this.defect(NINE * this.classPage + Number(name) - 1);
    else if (name in ACTIONS) ACTIONS[name](this);
    else return false;
    this.panel.tools(this.picture);
    return true;
  }

  decide(decision) {
    this.takeNote();
    this.desk.decide(decision);
  }

  defect(number) {
    const card = this.desk.card;
    const name = this.defects[number]?.name;
    if (!card || !name) return;
    if (!card.chosen.delete(name)) card.chosen.add(name);
    this.classes();
    this.desk.keep();
  }

  nextClasses() {
    this.classPage = (this.classPage + 1) % Math.max(1, Math.ceil(this.defects.length / NINE));
    this.classes();
  }

  accept() {
    const card = this.desk.card;
    if (!card?.isReady) return;
    if (!card.view.proposal) return this.panel.notice("no_proposal");
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
    if (event.key === "Escape") this.note.value = this.noteBefore;
    this.note.blur();
  }

  // What is in the field is the note, whether or not Enter was pressed.
  takeNote() {
    const card = this.desk?.card;
    if (!card?.isReady || card.id !== this.panel.shown || card.note === this.note.value) return;
    card.note = this.note.value;
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
  f: (page) => page.told(page.wish.open()),
  d: (page) => page.nextClasses(),
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

// What the operator wants to be asked: station, product, order. Remembered by the line, for this person, everywhere.

import { api } from "/pages/api.js";

const ORDERS = ["oldest", "uncertain", "diverse"];

export class Wish {
  constructor(dialog, words, onChange) {
    Object.assign(this, { dialog, words, onChange });
    this.onFail = () => {};
    dialog.addEventListener("change", () => this.apply().catch((error) => this.onFail(error)));
    dialog.querySelector("button").addEventListener("click", () => dialog.close());
  }

  async load() {
    this.now = await api.wish();
  }

  async open() {
    this.now ??= await api.wish();
    const choices = await api.choices();
    this.offer("station", choices);
    this.offer("product", choices);
    this.list("policy", [["", this.words.order_plant], ...ORDERS.map((name) => [name, this.words[`order_${name}`]])]);
    this.dialog.showModal();
  }

  // Each name with how many reviews are open; one that was wanted and has none stays to be seen.
  offer(name, choices) {
    const counts = new Map(this.now[name] ? [[this.now[name], 0]] : []);
    for (const one of choices) if (one[name]) counts.set(one[name], (counts.get(one[name]) ?? 0) + one.open);
    const named = [...counts].sort().map(([value, open]) => [value, `${value} (${open})`]);
    this.list(name, [["", this.words.filter_all], ...named]);
  }

  list(name, rows) {
    const options = rows.map(([value, text]) => new Option(text, value, false, value === (this.now[name] ?? "")));
    this.dialog.querySelector(`[name=${name}]`).replaceChildren(...options);
  }

  async apply() {
    const value = (name) => this.dialog.querySelector(`[name=${name}]`).value || null;
    this.now = await api.remember({ station: value("station"), product: value("product"), policy: value("policy") });
    this.onChange();
  }

  get text() {
    const { station, product, policy } = this.now ?? {};
    return [station, product, policy && this.words[`order_${policy}`]].filter(Boolean).join(", ");
  }
}

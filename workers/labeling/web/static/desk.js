// The operator's desk: the part that is shown, the next ones claimed ahead, the decisions that were made.

import { api, isAway, Refused, serverNow, untilAnswered } from "/pages/api.js";
import { Card } from "/pages/card.js";
import { Outbox } from "/pages/outbox.js";

const AHEAD = 2;
const KEPT = "adline.desk"; // of this tab
const UNDONE_MOST = 20;
const ASK_AGAIN = 1500;
const LOAD_TRIES = 20;
const SHORT_OF_LEASE = 0.6; // a lease is prolonged when less than this is left, if somebody is there

export class Desk {
  constructor(tell) {
    this.tell = tell; // {show(card), group(card), notice(kind, detail), change()}
    this.cards = [];
    this.done = []; // {leases, draft}: what can be undone
    this.decided = 0;
    this.activeAt = Date.now();
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    this.done = kept.done ?? [];
    this.decided = kept.decided ?? 0;
    this.outbox = new Outbox(kept.outbox ?? [], {
      onSent: () => this.decided++,
      onRefused: (entry, error) => this.lost(entry, error),
      onChange: () => this.changed(),
    });
    this.start(kept.held ?? []);
  }

  get card() {
    return this.cards[0] ?? null;
  }

  async start(held) {
    for (const { lease, draft } of held) {
      const again = await this.held(lease);
      if (again) this.cards.push(new Card({ ...lease, ...again }, draft));
    }
    setInterval(() => this.keepLeases(), 1000);
    if (this.card) this.show();
    this.fill();
  }

  // The lease, if it still runs; asked again and again while the line is away.
  async held(lease) {
    return untilAnswered(() => api.heartbeat(lease), () => this.tell.notice("away")).catch(() => null);
  }

  // Claims ahead, so that the next part is there before this one is decided.
  async fill() {
    if (this.filling) return;
    this.filling = true;
    try {
      while (this.cards.length <= AHEAD && this.isPresent()) {
        const lease = await api.claim();
        if (!lease) break;
        if (this.has(lease)) continue; // a group was formed meanwhile, and took it in
        const card = new Card(lease);
        this.cards.push(card);
        if (this.card === card) this.show();
        this.keep();
        await this.loaded(card);
      }
    } catch (error) {
      this.tell.notice(isAway(error) ? "away" : "refused", error.message);
    } finally {
      this.filling = false;
    }
    if (!this.card && this.isPresent()) this.tell.show(null);
    if (this.cards.length <= AHEAD) setTimeout(() => this.fill(), ASK_AGAIN);
  }

  // What cannot be loaded for long goes back, and is offered again after a while.
  async loaded(card) {
    for (let tries = 0; tries < LOAD_TRIES; tries++) {
      try {
        await card.loading;
        if (card === this.card && !card.shownAt) this.show();
        return;
      } catch {
        await pause(ASK_AGAIN);
        card.loading = card.load();
        card.loading.catch(() => {});
      }
    }
    this.drop(card);
    api.skip(card.lease).catch(() => {});
  }

  // Another filter or order: what was claimed ahead goes back, unless something was drawn or written on it.
  async refill() {
    const untouched = this.cards.filter((card) => card.isUntouched);
    this.cards = this.cards.filter((card) => !card.isUntouched);
    this.keep();
    await Promise.all(untouched.map((card) => api.release(card.lease).catch(() => {})));
    this.show();
    this.fill();
  }

  async show() {
    const card = this.card;
    if (!card?.isReady) {
      this.tell.show(null, true);
      if (!card) return;
      try {
        await card.loading;
      } catch {
        return; // fill tries again
      }
      if (this.card !== card) return;
    }
    card.shownAt = performance.now();
    this.tell.show(card);
  }

  decide(decision) {
    const card = this.card;
    if (!card?.isReady || !card.shownAt) return;
    const leases = [card.lease, ...card.group.filter((one) => one.chosen).map((one) => one.lease)];
    const left = card.group.filter((one) => !one.chosen);
    const took = Math.round(card.shownFor + performance.now() - card.shownAt);
    const entry = { leases, decision, draft: card.toDraft(), took_milliseconds: took };
    left.forEach((one) => this.release(one.lease));
    this.cards.shift();
    this.show();
    this.outbox.add(entry);
    this.done.push({ leases, draft: entry.draft });
    if (this.done.length > UNDONE_MOST) this.done.shift();
    this.changed();
    this.fill();
  }

  // With all of its group.
  async skip() {
    const card = this.card;
    if (!card) return;
    this.cards.shift();
    this.show();
    await this.after(Promise.all(card.leases.map((lease) => api.skip(lease))));
    this.changed();
    this.fill();
  }

  // The last decision is taken back, and its part shown again as it was left.
  async undo() {
    const last = this.done.pop();
    if (!last) return;
    const unsent = this.outbox.takeBack();
    if (!unsent) await this.outbox.pump();
    try {
      const leases = unsent ? unsent.leases : await Promise.all(last.leases.map((one) => api.undo(one.review_id)));
      if (!unsent) this.decided -= leases.length > 0 ? 1 : 0;
      const shown = this.card;
      if (shown?.shownAt) shown.shownFor += performance.now() - shown.shownAt;
      this.cards.unshift(...leases.map((lease, i) => new Card(lease, i ? undefined : last.draft)));
      this.show();
    } catch (error) {
      this.tell.notice(isAway(error) ? "away" : "refused", error.message);
    }
    this.changed();
  }

  // The parts that look like the one that is shown, also those claimed ahead; asked for again they go back.
  async group() {
    const card = this.card;
    if (!card?.isReady || card.isGrouping) return;
    if (card.group.length) return this.ungroup(card);
    card.isGrouping = true;
    const found = ((await this.after(api.alike(card.lease))) ?? []).filter((lease) => this.mayJoin(lease));
    const group = await this.after(Promise.all(found.map((lease) => this.member(lease))));
    card.isGrouping = false;
    const isLate = this.card !== card || !group;
    if (isLate) return found.filter((lease) => !this.has(lease)).forEach((lease) => this.release(lease));
    this.cards = this.cards.filter((one) => !found.some((lease) => lease.review_id === one.id));
    card.group = group;
    if (!found.length) this.tell.notice("alone");
    this.tell.group(card);
    this.changed();
    this.fill();
  }

  ungroup(card) {
    card.group.forEach((one) => this.release(one.lease));
    card.group = [];
    this.tell.group(card);
    this.changed();
    this.fill();
  }

  async member(lease) {
    const ahead = this.cards.find((one) => one.id === lease.review_id);
    return { lease, sight: ahead?.sight ?? (await api.sight(lease.review_id)), chosen: true };
  }

  // Not what was decided a moment ago, nor what has a drawing or a note of its own.
  mayJoin(lease) {
    const ahead = this.cards.find((one) => one.id === lease.review_id);
    return !this.isDecided(lease) && (ahead?.isUntouched ?? true);
  }

  isDecided({ review_id, token }) {
    const entries = [...this.done, ...this.outbox.entries];
    return entries.some(({ leases }) => leases.some((one) => one.review_id === review_id && one.token === token));
  }

  has(lease) {
    const isSame = (one) => one.review_id === lease.review_id && one.token === lease.token;
    return this.isDecided(lease) || this.leases().some(isSame);
  }

  // How many open parts look like this one, as far as is known.
  alike(card) {
    const decided = new Set(this.done.flatMap(({ leases }) => leases.map((one) => one.review_id)));
    return (card.sight?.alike ?? []).filter((id) => !decided.has(id)).length;
  }

  release(lease) {
    api.release(lease).catch(() => {}); // it ends by itself
  }

  async keepLeases() {
    this.tell.change();
    for (const lease of this.leases()) {
      const left = Date.parse(lease.lease_until) - serverNow();
      lease.length = Math.max(lease.length ?? 0, left);
      if (left <= 0) this.expired(lease);
      else if (left < SHORT_OF_LEASE * lease.length && this.isPresent() && !lease.asking) this.prolong(lease);
    }
  }

  async prolong(lease) {
    lease.asking = true;
    try {
      Object.assign(lease, await api.heartbeat(lease));
    } catch (error) {
      if (error instanceof Refused && error.status === 409) this.expired(lease, error.message);
    } finally {
      lease.asking = false;
    }
  }

  expired(lease, detail) {
    const card = this.cards.find((one) => one.lease === lease);
    if (!card) {
      for (const one of this.cards) one.group = one.group.filter((member) => member.lease !== lease);
      if (this.card?.isReady) this.tell.group(this.card);
      return;
    }
    const wasShown = card === this.card;
    this.drop(card);
    if (wasShown) this.tell.notice("expired", detail);
    if (wasShown) this.show();
    this.fill();
  }

  drop(card) {
    this.cards = this.cards.filter((one) => one !== card);
    card.group.forEach((one) => this.release(one.lease));
    this.keep();
  }

  lost(entry, error) {
    this.done = this.done.filter((one) => one.leases[0].review_id !== entry.leases[0].review_id);
    this.tell.notice("refused", error.message);
  }

  leases() {
    return this.cards.flatMap((card) => card.leases);
  }

  // Leases are prolonged while somebody is at the desk; a part that nobody looks at goes to somebody else.
  isPresent() {
    const length = Math.max(60_000, ...this.leases().map((lease) => lease.length ?? 0));
    return !document.hidden && Date.now() - this.activeAt < length;
  }

  touched() {
    const wasAway = !this.isPresent();
    this.activeAt = Date.now();
    if (wasAway) this.fill();
  }

  async after(asked) {
    try {
      return await asked;
    } catch (error) {
      this.tell.notice(isAway(error) ? "away" : "refused", error.message);
    }
  }

  changed() {
    this.keep();
    this.tell.change();
  }

  keep() {
    // After a reload the others of a group are parts claimed ahead, to be taken together again.
    const held = this.cards.flatMap((card) =>
      card.leases.map((lease, i) => ({ lease, draft: i ? undefined : card.toDraft() })),
    );
    const { done, decided } = this;
    sessionStorage.setItem(KEPT, JSON.stringify({ held, done, decided, outbox: this.outbox?.entries ?? [] }));
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

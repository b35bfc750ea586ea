// One part before the operator: its lease, what is known of it, its pictures, and what was drawn on them.

import { api, heatUrl, imageUrl } from "/pages/api.js";
import { Drawing } from "/pages/drawing.js";
import { Mask } from "/pages/mask.js";

export class Card {
  constructor(lease, draft) {
    this.lease = lease;
    this.draft = draft ?? { defects: [], note: "", drawings: [] };
    this.chosen = new Set(this.draft.defects);
    this.note = this.draft.note;
    this.group = []; // leases of parts that show the same, with their sights
    this.shownFor = this.draft.shownFor ?? 0;
    this.isReady = false;
    this.loading = this.load();
    this.loading.catch(() => {}); // whoever shows it hears of it
  }

  get id() {
    return this.lease.review_id;
  }

  get view() {
    return this.views[this.place];
  }

  get drawing() {
    return this.view.drawing;
  }

  async load() {
    this.sight = await api.sight(this.id);
    this.views = this.sight.views.map((facts) => ({ ...facts, drawing: this.restored(facts) }));
    this.place = worst(this.views);
    await Promise.all(this.views.map((view) => this.loadView(view)));
    this.isReady = true;
  }

  async loadView(view) {
    const outlines = view.proposal.map((region) => region.points);
    view.proposal = outlines.length ? Mask.fromOutlines(view.width, view.height, outlines) : null;
    [view.picture, view.heat] = await Promise.all([
      picture(imageUrl(view.sha256)),
      view.map_sha256 ? picture(heatUrl(view.map_sha256)) : null,
    ]);
  }

  restored({ camera, width, height }) {
    const draft = this.draft.drawings.find((one) => one.camera === camera);
    return draft ? Drawing.fromDraft(draft) : new Drawing(camera, width, height);
  }

  nextView() {
    this.place = (this.place + 1) % this.views.length;
  }

  firstDefect() {
    return [...this.chosen][0] ?? null;
  }

  // What is kept of the card in the tab, so that a reload goes on where it was.
  toDraft() {
    if (!this.isReady) return this.draft;
    const drawings = this.views.filter((view) => !view.drawing.isEmpty).map((view) => view.drawing.toDraft());
    return { defects: [...this.chosen], note: this.note, drawings, shownFor: this.shownFor };
  }
}

function worst(views) {
  const severity = (view) => (view.anomaly_score ?? 0) - (view.ng_threshold ?? 1);
  return views.reduce((found, view, i) => (severity(view) > severity(views[found]) ? i : found), 0);
}

async function picture(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url}: ${answer.status}`);
  return createImageBitmap(await answer.blob());
}

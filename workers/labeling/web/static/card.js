// One part before the operator: its lease, what is known of it, its pictures, and what was drawn on them.

import { api, heatUrl, imageUrl } from "/pages/api.js";
import { Drawing } from "/pages/drawing.js";
import { Layer, PROPOSED } from "/pages/layer.js";
import { Mask } from "/pages/mask.js";

// A part of which no camera delivered a picture.
const NOT_SEEN = { camera: "", sha256: null, width: 64, height: 48, proposal: [], map_sha256: null, anomaly_score: null };

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

  // Its own and those of its group.
  get leases() {
    return [this.lease, ...this.group.map((one) => one.lease)];
  }

  get view() {
    return this.views[this.place];
  }

  get drawing() {
    return this.view.drawing;
  }

  async load() {
    this.sight = await api.sight(this.id);
    const seen = this.sight.views.length ? this.sight.views : [NOT_SEEN];
    this.views = seen.map((facts) => ({ ...facts, drawing: this.restored(facts) }));
    this.place = worst(this.views);
    await Promise.all(this.views.map((view) => this.loadView(view)));
    this.isReady = true;
  }

  async loadView(view) {
    const outlines = view.proposal.map((region) => region.points);
    view.proposal = outlines.length ? Mask.fromOutlines(view.width, view.height, outlines) : null;
    view.proposed = view.proposal && new Layer(view.proposal, PROPOSED);
    // A picture that cannot be shown keeps nobody from deciding: it may be what is wrong with the part.
    [view.picture, view.heat] = await Promise.all([
      view.sha256 ? picture(imageUrl(view.sha256)) : null,
      view.map_sha256 ? picture(heatUrl(view.map_sha256)) : null,
    ]);
  }

  restored({ camera, width, height }) {
    const draft = this.draft.drawings.find((one) => one.camera === camera);
    return draft ? Drawing.fromDraft(draft) : new Drawing(camera, width, height);
  }

  get isUntouched() {
    const { defects, note, drawings } = this.toDraft();
    return !defects.length && !note && !drawings.length && !this.group.length;
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

// Null for what cannot be shown; an error while the line is away.
async function picture(url) {
  const answer = await fetch(url);
  if (answer.status === 503) throw new Error(`${url}: ${answer.status}`);
  return answer.ok ? createImageBitmap(await answer.blob()).catch(() => null) : null;
}

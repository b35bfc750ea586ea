// Decisions on their way: sent in order, again and again until they are answered, kept in the tab until then.

import { api, isAway } from "/pages/api.js";
import { Drawing } from "/pages/drawing.js";

const FIRST_WAIT = 250;
const LONGEST_WAIT = 4000;

export class Outbox {
  // entry: {leases, decision, draft, took_milliseconds}
  constructor(entries, { onSent, onRefused, onChange }) {
    this.entries = entries;
    Object.assign(this, { onSent, onRefused, onChange });
    this.isAway = false;
    this.pump();
  }

  add(entry) {
    this.entries.push(entry);
    this.pump();
  }

  // What was not yet sent can be taken back without asking anybody.
  takeBack() {
    return this.entries.length > 1 ? this.entries.pop() : null;
  }

  async pump() {
    this.pumping ??= this.sendAll().finally(() => (this.pumping = null));
    return this.pumping;
  }

  async sendAll() {
    let wait = FIRST_WAIT;
    while (this.entries.length) {
      try {
        const [entry] = this.entries;
        await api.resolve(entry.leases, await resolutionOf(entry));
        this.done(this.onSent, entry);
        wait = FIRST_WAIT;
      } catch (error) {
        if (isAway(error)) {
          this.isAway = true;
          this.onChange();
          await new Promise((resolve) => setTimeout(resolve, wait));
          wait = Math.min(2 * wait, LONGEST_WAIT);
        } else this.done(this.onRefused, this.entries[0], error);
      }
    }
  }

  done(tell, entry, error) {
    this.isAway = false;
    this.entries.shift();
    tell(entry, error);
    this.onChange();
  }
}

async function resolutionOf({ decision, draft, took_milliseconds }) {
  const said = { decision, note: draft.note, took_milliseconds, defects: [], regions: [] };
  if (decision !== "anomaly") return said;
  const regions = await Promise.all(draft.drawings.map(Drawing.fromDraft).map(regionsOf));
  return { ...said, defects: draft.defects, regions: regions.flat() };
}

async function regionsOf({ camera, shapes, mask, maskDefect, hasMask }) {
  const regions = shapes.map(({ kind, points, defect }) => ({ camera, kind, points, defect }));
  if (!hasMask) return regions;
  const { sha256 } = await api.storeMask(await mask.toPng());
  return [...regions, { camera, kind: "mask", mask_sha256: sha256, defect: maskDefect }];
}

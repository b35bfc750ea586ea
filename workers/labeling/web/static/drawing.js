// What an operator draws on one frame: boxes, polygons and one mask, in pixels of the frame. Each step can be undone.

import { Mask, TILE } from "/pages/mask.js";

const SMALLEST_BOX = 1;
const MOST_STEPS = 100;
const MOST_KEPT = 16 * 2 ** 20; // bytes of pixels as they were, for undoing; the oldest steps go first

export class Drawing {
  constructor(camera, width, height) {
    this.camera = camera;
    this.width = width;
    this.height = height;
    this.shapes = []; // {kind: "box" | "polygon", points: [[x, y], ...], defect}
    this.mask = null;
    this.maskDefect = null;
    this.corners = []; // of the polygon or box that is being drawn
    this.before = []; // {shapes, maskDefect} and, of a mask: {tiles} that a stroke changed, or the {runs} of all of it
  }

  get isEmpty() {
    return !this.shapes.length && !this.hasMask;
  }

  get hasMask() {
    return this.mask !== null && !this.mask.isEmpty();
  }

  // How it is now, before the next step.
  remember(mask = {}) {
    this.before.push({ shapes: [...this.shapes], maskDefect: this.maskDefect, ...mask });
    while (this.before.length > MOST_STEPS || (this.before.length > 1 && this.keptBytes > MOST_KEPT)) this.before.shift();
  }

  get keptBytes() {
    return this.before.reduce((sum, { tiles }) => sum + (tiles?.size ?? 0) * TILE * TILE, 0);
  }

  // False when there is nothing to undo.
  undo() {
    if (this.corners.length) {
      this.corners = [];
      return true;
    }
    const last = this.before.pop();
    if (!last) return false;
    Object.assign(this, { shapes: last.shapes, maskDefect: last.maskDefect });
    if (last.tiles) this.mask.restore(last.tiles);
    else if (last.runs !== undefined) this.mask = last.runs && Mask.fromRuns(this.width, this.height, last.runs);
    return true;
  }

  accept(mask, defect) {
    this.remember({ runs: this.mask?.toRuns() ?? null });
    this.mask = mask.copy();
    this.maskDefect = defect;
  }

  beginStroke(defect) {
    this.remember(this.mask ? { tiles: new Map() } : { runs: null });
    this.mask ??= new Mask(this.width, this.height);
    this.maskDefect ??= defect;
  }

  stroke(from, to, radius, erases) {
    this.mask.stroke(from, to, radius, erases ? 0 : 255, this.before.at(-1)?.tiles);
  }

  addBox(from, to, defect) {
    const points = [from, to].map((point) => this.within(point));
    const [a, b] = points;
    if (Math.abs(a[0] - b[0]) < SMALLEST_BOX || Math.abs(a[1] - b[1]) < SMALLEST_BOX) return;
    this.remember();
    this.shapes.push({ kind: "box", points, defect });
  }

  // The two clicks of a double click are one corner.
  addCorner(point) {
    const corner = this.within(point);
    if (`${this.corners.at(-1)}` !== `${corner}`) this.corners.push(corner);
  }

  closePolygon(defect) {
    if (this.corners.length >= 3) {
      this.remember();
      this.shapes.push({ kind: "polygon", points: this.corners, defect });
    }
    this.corners = [];
  }

  within({ x, y }) {
    return [Math.min(Math.max(x, 0), this.width), Math.min(Math.max(y, 0), this.height)].map(
      (value) => Math.round(value * 10) / 10,
    );
  }

  toDraft() {
    const { camera, width, height, shapes, maskDefect } = this;
    return { camera, width, height, shapes, maskDefect, runs: this.mask?.toRuns() ?? null };
  }

  static fromDraft(draft) {
    const drawing = new Drawing(draft.camera, draft.width, draft.height);
    drawing.shapes = draft.shapes;
    drawing.maskDefect = draft.maskDefect;
    if (draft.runs) drawing.mask = Mask.fromRuns(draft.width, draft.height, draft.runs);
    return drawing;
  }
}

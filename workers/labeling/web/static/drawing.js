// What an operator draws on one frame: boxes, polygons and one mask, in pixels of the frame. Each step can be undone.

import { Mask } from "/pages/mask.js";

const SMALLEST_BOX = 1;

export class Drawing {
  constructor(camera, width, height) {
    this.camera = camera;
    this.width = width;
    this.height = height;
    this.shapes = []; // {kind: "box" | "polygon", points: [[x, y], ...], defect}
    this.mask = null;
    this.maskDefect = null;
    this.corners = []; // of the polygon or box that is being drawn
    this.before = [];
  }

  get isEmpty() {
    return !this.shapes.length && !this.hasMask;
  }

  get hasMask() {
    return this.mask !== null && !this.mask.isEmpty();
  }

  remember() {
    this.before.push({ shapes: [...this.shapes], mask: this.mask?.copy() ?? null });
  }

  // False when there is nothing to undo.
  undo() {
    if (this.corners.length) {
      this.corners = [];
      return true;
    }
    const last = this.before.pop();
    if (last) Object.assign(this, last);
    return Boolean(last);
  }

  accept(mask, defect) {
    this.remember();
    this.mask = mask.copy();
    this.maskDefect = defect;
  }

  beginStroke(defect) {
    this.remember();
    this.mask ??= new Mask(this.width, this.height);
    this.maskDefect ??= defect;
  }

  stroke(from, to, radius, erases) {
    return this.mask.stroke(from, to, radius, erases ? 0 : 255);
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

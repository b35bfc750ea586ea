// A mask of a frame's size, one byte a pixel: 255 where the part is defective, else 0.

import { encodeGrey } from "/pages/png.js";

export const TILE = 64; // the side of the squares of pixels that are kept for undoing

export class Mask {
  constructor(width, height, data) {
    this.width = width;
    this.height = height;
    this.data = data ?? new Uint8Array(width * height);
    this.count = 0; // of the pixels that are set
    this.changes = []; // rectangles, for the layer that shows it
  }

  // Outlines run through the middles of the outermost pixels, which belong to the mask.
  static fromOutlines(width, height, outlines) {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.translate(0.5, 0.5);
    for (const points of outlines) {
      context.beginPath();
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
      context.fill();
      context.stroke();
    }
    const rgba = context.getImageData(0, 0, width, height).data;
    const mask = new Mask(width, height);
    for (let i = 0; i < mask.data.length; i++) if (rgba[4 * i + 3] >= 128) {
      mask.data[i] = 255;
      mask.count++;
    }
    return mask;
  }

  // Pixels whose centre lies within the radius of the stroke from one point to the other. Squares of pixels are put
  // into `before` as they were, unless they are there.
  stroke(from, to, radius, value, before) {
    const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
    const bottom = Math.min(this.height - 1, Math.ceil(Math.max(from.y, to.y) + radius));
    for (let y = top; y <= bottom; y++) this.strokeRow(y, from, to, radius, value, before);
    const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
    const right = Math.min(this.width - 1, Math.ceil(Math.max(from.x, to.x) + radius));
    this.changed({ left, top, width: right - left + 1, height: bottom - top + 1 });
  }

  strokeRow(row, from, to, radius, value, before) {
    const dx = to.x - from.x, dy = to.y - from.y, long = dx * dx + dy * dy, y = row + 0.5 - from.y;
    // The part of the stroke that is near enough to this row.
    const [begin, end] = (dy ? [(y - radius) / dy, (y + radius) / dy] : [0, 1]).map((t) => Math.min(Math.max(t, 0), 1));
    const left = Math.max(0, Math.floor(from.x + Math.min(begin * dx, end * dx) - radius));
    const right = Math.min(this.width - 1, Math.ceil(from.x + Math.max(begin * dx, end * dx) + radius));
    for (let column = left; column <= right; column++) {
      const at = row * this.width + column;
      if (this.data[at] === value) continue;
      const x = column + 0.5 - from.x;
      const along = long ? Math.min(Math.max((x * dx + y * dy) / long, 0), 1) : 0;
      if ((x - along * dx) ** 2 + (y - along * dy) ** 2 > radius * radius) continue;
      if (before) this.keep(column, row, before);
      this.data[at] = value;
      this.count += value ? 1 : -1;
    }
  }

  keep(x, y, before) {
    const tile = Math.floor(y / TILE) * Math.ceil(this.width / TILE) + Math.floor(x / TILE);
    if (!before.has(tile)) before.set(tile, this.rows(tile).map(([begin, end]) => this.data.slice(begin, end)));
  }

  // Where the rows of a square begin and end.
  rows(tile) {
    const across = Math.ceil(this.width / TILE), left = (tile % across) * TILE, top = Math.floor(tile / across) * TILE;
    const right = Math.min(left + TILE, this.width), bottom = Math.min(top + TILE, this.height);
    return Array.from({ length: bottom - top }, (_, i) => [(top + i) * this.width + left, (top + i) * this.width + right]);
  }

  // As it was before.
  restore(before) {
    for (const [tile, kept] of before) {
      const rows = this.rows(tile);
      rows.forEach(([begin, end], i) => {
        this.count += set(kept[i]) - set(this.data.subarray(begin, end));
        this.data.set(kept[i], begin);
      });
      const left = rows[0][0] % this.width, top = Math.floor(rows[0][0] / this.width);
      this.changed({ left, top, width: rows[0][1] - rows[0][0], height: rows.length });
    }
  }

  changed(place) {
    this.runs = null;
    if (place.width > 0 && place.height > 0) this.changes.push(place);
  }

  isEmpty() {
    return this.count === 0;
  }

  copy() {
    const copy = new Mask(this.width, this.height, this.data.slice());
    copy.count = this.count;
    return copy;
  }

  toPng() {
    return encodeGrey(this.width, this.height, this.data);
  }

  // For keeping a draft in the tab: lengths of runs, the first of zeros.
  toRuns() {
    if (this.runs) return this.runs;
    const runs = [];
    for (let at = 0, other = 255; at < this.data.length; other = 255 - other) {
      const next = this.data.indexOf(other, at);
      const end = next < 0 ? this.data.length : next;
      runs.push(end - at);
      at = end;
    }
    return (this.runs = runs);
  }

  static fromRuns(width, height, runs) {
    const mask = new Mask(width, height);
    let at = 0;
    runs.forEach((length, i) => {
      if (i % 2) mask.data.fill(255, at, at + length);
      if (i % 2) mask.count += length;
      at += length;
    });
    return mask;
  }
}

// How many pixels are set.
function set(pixels) {
  let count = 0;
  for (const pixel of pixels) if (pixel) count++;
  return count;
}

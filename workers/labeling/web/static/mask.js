// A mask of a frame's size, one byte a pixel: 255 where the part is defective, else 0.

import { encodeGrey } from "/pages/png.js";

export class Mask {
  constructor(width, height, data) {
    this.width = width;
    this.height = height;
    this.data = data ?? new Uint8Array(width * height);
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
    for (let i = 0; i < mask.data.length; i++) mask.data[i] = rgba[4 * i + 3] >= 128 ? 255 : 0;
    return mask;
  }

  // Pixels whose centre lies within the radius of the stroke from one point to the other.
  stroke(from, to, radius, value) {
    const left = Math.max(0, Math.floor(Math.min(from.x, to.x) - radius));
    const right = Math.min(this.width - 1, Math.ceil(Math.max(from.x, to.x) + radius));
    const top = Math.max(0, Math.floor(Math.min(from.y, to.y) - radius));
    const bottom = Math.min(this.height - 1, Math.ceil(Math.max(from.y, to.y) + radius));
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        if (distanceSquared({ x: x + 0.5, y: y + 0.5 }, from, to) <= radius * radius) {
          this.data[y * this.width + x] = value;
        }
      }
    }
    return { left, top, width: right - left + 1, height: bottom - top + 1 };
  }

  isEmpty() {
    return !this.data.includes(255);
  }

  copy() {
    return new Mask(this.width, this.height, this.data.slice());
  }

  toPng() {
    return encodeGrey(this.width, this.height, this.data);
  }

  // For keeping a draft in the tab: lengths of runs, the first of zeros.
  toRuns() {
    const runs = [];
    let value = 0, length = 0;
    for (const pixel of this.data) {
      if (pixel !== value) {
        runs.push(length);
        value = pixel;
        length = 0;
      }
      length++;
    }
    return [...runs, length];
  }

  static fromRuns(width, height, runs) {
    const mask = new Mask(width, height);
    let at = 0;
    runs.forEach((length, i) => {
      if (i % 2) mask.data.fill(255, at, at + length);
      at += length;
    });
    return mask;
  }
}

function distanceSquared(point, from, to) {
  const dx = to.x - from.x, dy = to.y - from.y;
  const along = dx || dy ? ((point.x - from.x) * dx + (point.y - from.y) * dy) / (dx * dx + dy * dy) : 0;
  const nearest = Math.min(Math.max(along, 0), 1);
  return (point.x - from.x - nearest * dx) ** 2 + (point.y - from.y - nearest * dy) ** 2;
}

// A mask as a picture of one colour, in tiles: what did not change is not drawn anew, and what is empty is not there.

export const PROPOSED = [255, 210, 0];
export const DRAWN = [255, 60, 60];
const SIDE = 512;

export class Layer {
  constructor(mask, [red, green, blue]) {
    this.mask = mask;
    this.colour = (255 << 24) | (blue << 16) | (green << 8) | red;
    this.tiles = new Map();
    mask.changes = [];
    const first = mask.data.indexOf(255), last = mask.data.lastIndexOf(255);
    if (first < 0) return;
    const top = Math.floor(first / mask.width);
    this.draw({ left: 0, top, width: mask.width, height: Math.floor(last / mask.width) - top + 1 });
  }

  // What was changed in the mask since.
  follow() {
    this.mask.changes.forEach((place) => this.draw(place));
    this.mask.changes = [];
  }

  draw({ left, top, width, height }) {
    for (let y = top; y < top + height; y = (Math.floor(y / SIDE) + 1) * SIDE) {
      for (let x = left; x < left + width; x = (Math.floor(x / SIDE) + 1) * SIDE) {
        const right = Math.min(left + width, (Math.floor(x / SIDE) + 1) * SIDE);
        const bottom = Math.min(top + height, (Math.floor(y / SIDE) + 1) * SIDE);
        this.drawTile(x, y, right - x, bottom - y);
      }
    }
  }

  // A part of one tile.
  drawTile(left, top, width, height) {
    const image = new ImageData(width, height), pixels = new Uint32Array(image.data.buffer);
    const { data } = this.mask;
    let isEmpty = true;
    for (let y = 0; y < height; y++) {
      const row = (top + y) * this.mask.width + left;
      for (let x = 0; x < width; x++) {
        if (!data[row + x]) continue;
        pixels[y * width + x] = this.colour;
        isEmpty = false;
      }
    }
    const column = Math.floor(left / SIDE), row = Math.floor(top / SIDE), key = `${column} ${row}`;
    if (isEmpty && !this.tiles.has(key)) return;
    if (!this.tiles.has(key)) this.tiles.set(key, this.newTile(column * SIDE, row * SIDE));
    this.tiles.get(key).context.putImageData(image, left - column * SIDE, top - row * SIDE);
  }

  newTile(left, top) {
    const width = Math.min(SIDE, this.mask.width - left), height = Math.min(SIDE, this.mask.height - top);
    const canvas = new OffscreenCanvas(width, height);
    return { left, top, width, height, canvas, context: canvas.getContext("2d") };
  }

  // Edges of tiles lie between the screen's pixels: no seam is seen.
  paint(context, { x, y, scale }) {
    for (const { left, top, width, height, canvas } of this.tiles.values()) {
      const [from, to] = [left, left + width].map((at) => Math.round(x + at * scale));
      const [above, below] = [top, top + height].map((at) => Math.round(y + at * scale));
      context.drawImage(canvas, from, above, to - from, below - above);
    }
  }
}

// Where a frame is on the screen: frame pixels to screen pixels and back.

const MOST_SCALE = 64;
const LEAST_OF_FIT = 0.5;

export class View {
  constructor() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.fitted = true;
  }

  fit(frame, screen) {
    this.least = Math.min(screen.width / frame.width, screen.height / frame.height);
    this.scale = this.least;
    this.x = (screen.width - frame.width * this.scale) / 2;
    this.y = (screen.height - frame.height * this.scale) / 2;
    this.fitted = true;
  }

  // The point of the frame under the pointer stays under it.
  zoom(factor, at) {
    const scale = Math.min(Math.max(this.scale * factor, this.least * LEAST_OF_FIT), MOST_SCALE);
    const kept = this.toFrame(at);
    this.scale = scale;
    this.x = at.x - kept.x * scale;
    this.y = at.y - kept.y * scale;
    this.fitted = false;
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
  }

  toFrame(point) {
    return { x: (point.x - this.x) / this.scale, y: (point.y - this.y) / this.scale };
  }

  toScreen(point) {
    return { x: point.x * this.scale + this.x, y: point.y * this.scale + this.y };
  }
}

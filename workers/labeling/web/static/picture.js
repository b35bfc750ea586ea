// The canvas: a frame with its heat map, the proposed region and what is drawn, to zoom, pan and draw on.

import { Gestures } from "/pages/gestures.js";
import { View } from "/pages/view.js";

const COLOURS = { proposed: [255, 210, 0], drawn: [255, 60, 60] };
const PIXELS_FROM = 3; // from this scale on a frame's pixels are shown as squares

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.view = new View();
    this.heat = { shown: false, opacity: 0.55 };
    this.layers = {};
    this.tool = null; // null | "box" | "polygon" | "brush"
    this.erases = false;
    this.radius = 8;
    this.onChange = () => {};
    this.defect = () => null;
    new Gestures(this);
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  // frame: {picture, heat, proposal, width, height}; each of the first three an ImageBitmap, a Mask, or null.
  show(frame, drawing) {
    this.frame = frame;
    this.drawing = drawing;
    this.layers = { proposed: layer(frame?.proposal, COLOURS.proposed), drawn: layer(drawing?.mask, COLOURS.drawn) };
    if (frame) this.view.fit(frame, this.size());
    this.paint();
  }

  size() {
    return { width: this.canvas.clientWidth, height: this.canvas.clientHeight };
  }

  resize() {
    const { width, height } = this.size();
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    if (this.frame && this.view.fitted) this.view.fit(this.frame, this.size());
    this.paint();
  }

  changed() {
    this.layers.drawn = layer(this.drawing?.mask, COLOURS.drawn);
    this.paint();
    this.onChange();
  }

  // While a stroke is drawn.
  maskChanged() {
    this.layers.drawn = layer(this.drawing.mask, COLOURS.drawn);
    this.redraw();
  }

  closePolygon() {
    if (this.tool !== "polygon" || !this.drawing) return;
    this.drawing.closePolygon(this.defect());
    this.changed();
  }

  redraw() {
    this.painting ??= requestAnimationFrame(() => this.paint());
  }

  paint() {
    cancelAnimationFrame(this.painting);
    this.painting = null;
    const { context, canvas, frame, view } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!frame) return;
    const scale = view.scale * devicePixelRatio;
    context.setTransform(scale, 0, 0, scale, view.x * devicePixelRatio, view.y * devicePixelRatio);
    context.imageSmoothingEnabled = view.scale < PIXELS_FROM;
    if (frame.picture) context.drawImage(frame.picture, 0, 0, frame.width, frame.height);
    if (this.heat.shown && frame.heat) this.paintHeat();
    const drawn = this.drawing;
    if (this.layers.proposed && !drawn.hasMask) this.paintLayer(this.layers.proposed, 0.35);
    if (this.layers.drawn) this.paintLayer(this.layers.drawn, 0.5);
    for (const shape of drawn.shapes) this.outline(shape.kind, shape.points);
    if (drawn.corners.length) this.outline(this.tool, [...drawn.corners, ...(this.hover ? [this.hover] : [])]);
    if (this.tool === "brush" && this.hover) this.paintBrush();
  }

  paintHeat() {
    this.context.globalAlpha = this.heat.opacity;
    this.context.imageSmoothingEnabled = true;
    this.context.drawImage(this.frame.heat, 0, 0, this.frame.width, this.frame.height);
    this.context.globalAlpha = 1;
  }

  paintLayer(canvas, opacity) {
    this.context.globalAlpha = opacity;
    this.context.imageSmoothingEnabled = false;
    this.context.drawImage(canvas, 0, 0);
    this.context.globalAlpha = 1;
  }

  outline(kind, points) {
    const { context, view } = this;
    context.beginPath();
    if (kind === "box" && points.length > 1) {
      const [[x, y], [right, bottom]] = points;
      context.rect(x, y, right - x, bottom - y);
    } else {
      points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    }
    // Dark beneath light: seen on any part.
    for (const [colour, width] of [["#000", 4], [`rgb(${COLOURS.drawn})`, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / view.scale;
      context.stroke();
    }
  }

  paintBrush() {
    const { context, view } = this;
    context.beginPath();
    context.arc(this.hover[0], this.hover[1], this.radius, 0, 2 * Math.PI);
    context.strokeStyle = this.erases ? "#fff" : `rgb(${COLOURS.drawn})`;
    context.lineWidth = 2 / view.scale;
    context.stroke();
  }

  zoom(factor, at = { x: this.size().width / 2, y: this.size().height / 2 }) {
    this.view.zoom(factor, at);
    this.redraw();
  }

  pan(dx, dy) {
    this.view.pan(dx, dy);
    this.redraw();
  }

  fit() {
    if (this.frame) this.view.fit(this.frame, this.size());
    this.redraw();
  }

  choose(tool, erases = false) {
    this.tool = tool;
    this.erases = erases;
    if (this.drawing) this.drawing.corners = [];
    this.canvas.dataset.tool = tool ?? "";
    this.redraw();
  }
}

// A mask as a picture of one colour.
function layer(mask, [red, green, blue]) {
  if (!mask) return null;
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(mask.width, mask.height);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = (255 << 24) | (blue << 16) | (green << 8) | red;
  for (let i = 0; i < mask.data.length; i++) if (mask.data[i]) pixels[i] = colour;
  context.putImageData(image, 0, 0);
  return canvas;
}

// The canvas: a frame with its heat map, the proposed region and what is drawn, to zoom, pan and draw on.

import { Gestures } from "/pages/gestures.js";
import { DRAWN, Layer } from "/pages/layer.js";
import { View } from "/pages/view.js";

const PIXELS_FROM = 3; // from this scale on a frame's pixels are shown as squares

export class Picture {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.ground = new OffscreenCanvas(1, 1).getContext("2d"); // picture and heat map, drawn anew when the view changes
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

  // frame: {picture, heat, proposed, width, height}; the first two an ImageBitmap, the third a Layer, each may be null.
  show(frame, drawing) {
    this.frame = frame;
    this.drawing = drawing;
    this.layers = { proposed: frame?.proposed ?? null, drawn: null };
    this.follow();
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
    this.follow();
    this.paint();
    this.onChange();
  }

  // While a stroke is drawn.
  maskChanged() {
    this.follow();
    this.redraw();
  }

  follow() {
    const mask = this.drawing?.mask;
    if (mask && this.layers.drawn?.mask === mask) this.layers.drawn.follow();
    else this.layers.drawn = mask ? new Layer(mask, DRAWN) : null;
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
    const { context, canvas, frame, place } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!frame) return;
    this.paintGround();
    context.drawImage(this.ground.canvas, 0, 0);
    const drawn = this.drawing;
    if (this.layers.proposed && !drawn.hasMask) this.paintLayer(this.layers.proposed, 0.35);
    if (this.layers.drawn) this.paintLayer(this.layers.drawn, 0.5);
    context.setTransform(place.scale, 0, 0, place.scale, place.x, place.y);
    for (const shape of drawn.shapes) this.outline(shape.kind, shape.points);
    if (drawn.corners.length) this.outline(this.tool, [...drawn.corners, ...(this.hover ? [this.hover] : [])]);
    if (this.tool === "brush" && this.hover) this.paintBrush();
  }

  // Where the frame is, in pixels of the screen.
  get place() {
    const { x, y, scale } = this.view;
    return { x: x * devicePixelRatio, y: y * devicePixelRatio, scale: scale * devicePixelRatio };
  }

  // Shrinking a large frame takes long: it is done when the frame or the view changes, not for each move of the brush.
  paintGround() {
    const { ground, frame, heat, place } = this;
    const { width, height } = this.canvas;
    const isShown = JSON.stringify([place, heat, width, height]);
    if (this.grounded === frame && this.groundedAs === isShown) return;
    Object.assign(this, { grounded: frame, groundedAs: isShown });
    Object.assign(ground.canvas, { width, height });
    ground.setTransform(place.scale, 0, 0, place.scale, place.x, place.y);
    ground.imageSmoothingEnabled = this.view.scale < PIXELS_FROM;
    if (frame.picture) ground.drawImage(frame.picture, 0, 0, frame.width, frame.height);
    if (!heat.shown || !frame.heat) return;
    ground.globalAlpha = heat.opacity;
    ground.imageSmoothingEnabled = true;
    ground.drawImage(frame.heat, 0, 0, frame.width, frame.height);
    ground.globalAlpha = 1;
  }

  paintLayer(layer, opacity) {
    this.context.globalAlpha = opacity;
    this.context.imageSmoothingEnabled = false;
    layer.paint(this.context, this.place);
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
    for (const [colour, width] of [["#000", 4], [`rgb(${DRAWN})`, 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width / view.scale;
      context.stroke();
    }
  }

  paintBrush() {
    const { context, view } = this;
    context.beginPath();
    context.arc(this.hover[0], this.hover[1], this.radius, 0, 2 * Math.PI);
    context.strokeStyle = this.erases ? "#fff" : `rgb(${DRAWN})`;
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

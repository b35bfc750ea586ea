// What pointers do on the picture: mouse, pen and fingers. Two fingers or the wheel zoom, the tool in hand draws.

const WHEEL_STEP = 1.0015;
const MIDDLE = 1;
const RIGHT = 2;

export class Gestures {
  constructor(picture) {
    this.picture = picture;
    this.pointers = new Map();
    const on = (name, handle) => picture.canvas.addEventListener(name, handle.bind(this), { passive: false });
    on("wheel", this.wheel);
    on("pointerdown", this.down);
    on("pointermove", this.move);
    on("pointerup", this.up);
    on("pointercancel", this.up);
    on("pointerleave", this.leave);
    on("dblclick", () => picture.closePolygon());
    on("contextmenu", (event) => event.preventDefault());
  }

  at(event) {
    const box = this.picture.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  wheel(event) {
    event.preventDefault();
    this.picture.zoom(WHEEL_STEP ** -event.deltaY, this.at(event));
  }

  down(event) {
    const { picture } = this;
    if (!picture.frame?.sha256) return;
    picture.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.pointers.size > 1) this.takeBack(); // the second finger zooms: what the first began was not meant
    else this.drag = this.begun(event);
    if (this.drag?.kind === "brush") {
      picture.drawing.beginStroke(picture.defect());
      this.brush(this.drag.from);
    } else if (this.drag?.kind === "polygon") {
      picture.drawing.addCorner(this.drag.from);
    } else if (this.drag?.kind === "box") {
      picture.drawing.corners = [picture.drawing.within(this.drag.from)];
    }
    picture.redraw();
  }

  takeBack() {
    const { drawing } = this.picture;
    if (this.drag?.kind === "brush") drawing.undo();
    else if (this.drag?.kind === "polygon") drawing.corners.pop();
    else if (this.drag?.kind === "box") drawing.corners = [];
    if (this.drag) this.picture.changed();
    this.drag = null;
  }

  begun(event) {
    const from = this.picture.view.toFrame(this.at(event));
    const isPanning = !this.picture.tool || event.button === MIDDLE;
    return { from, last: from, kind: isPanning ? "pan" : this.picture.tool, erases: event.button === RIGHT };
  }

  move(event) {
    const { picture } = this;
    if (!picture.frame) return;
    const at = this.at(event);
    const before = this.pointers.get(event.pointerId);
    const point = picture.view.toFrame(at);
    picture.hover = [point.x, point.y];
    if (before) this.pointers.set(event.pointerId, at);
    if (before && this.pointers.size === 2) this.pinch(event.pointerId, before, at);
    else if (this.drag?.kind === "pan") picture.pan(at.x - before.x, at.y - before.y);
    else if (this.drag?.kind === "brush") this.brush(point);
    picture.redraw();
  }

  up(event) {
    const { picture, drag } = this;
    this.pointers.delete(event.pointerId);
    this.drag = null;
    if (drag?.kind === "box") {
      picture.drawing.corners = [];
      picture.drawing.addBox(drag.from, picture.view.toFrame(this.at(event)), picture.defect());
    }
    if (drag && drag.kind !== "pan") picture.changed();
  }

  leave() {
    this.picture.hover = null;
    this.picture.redraw();
  }

  brush(point) {
    const { picture, drag } = this;
    picture.drawing.stroke(drag.last, point, picture.radius, picture.erases || drag.erases);
    drag.last = point;
    picture.maskChanged();
  }

  pinch(moved, before, at) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, point]) => point);
    const span = (point) => Math.max(1, Math.hypot(point.x - other.x, point.y - other.y));
    this.picture.pan((at.x - before.x) / 2, (at.y - before.y) / 2);
    this.picture.zoom(span(at) / span(before), { x: (at.x + other.x) / 2, y: (at.y + other.y) / 2 });
  }
}

/**
 * The pad: paper on which one draws with mouse, pen, finger or keys.
 *
 * The drawing is what a photo of it would be, dark ink on white paper, and goes the same way.
 */

import { byId, context } from "./dom.js";

/** @typedef {[number, number][]} Stroke */

export const SIDE = 140; // pixels of the paper: enough for 28x28, and few enough for every frame
const LINE = 10; // thickness of a stroke
const STEP = 5; // pixels that the pen moves by a key

export class Pad {
  /**
   * @param {(pixels: Uint8ClampedArray, side: number) => void} drawn called with the paper's pixels
   *   (side, side, rgba) after every stroke and while it grows
   */
  constructor(drawn) {
    this.drawn = drawn;
    this.canvas = /** @type {HTMLCanvasElement} */ (byId("pad"));
    [this.canvas.width, this.canvas.height] = [SIDE, SIDE];
    /** @type {Stroke[]} */
    this.strokes = [];
    /** @type {Stroke | null} */
    this.growing = null;
    /** Ink, where the paper is in colour. */
    this.ink = "#000000";
    /** @type {[number, number]} the pen, when keys move it */
    this.pen = [SIDE / 2, SIDE / 4];
    this.down = false;
    /** Whether keys have moved the pen, so that it is shown. */
    this.keyed = false;
    /** Whether the next frame tells what was drawn. */
    this.waits = false;
    /** Whether the paper shows a picture, which the first stroke puts away. */
    this.covered = true;
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, () => this.end());
    }
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("blur", () => this.end());
    this.redraw();
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  pointOf(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * SIDE,
      ((event.clientY - box.top) / box.height) * SIDE,
    ];
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.start(this.pointOf(event));
  }

  /** @param {PointerEvent} event */
  go(event) {
    if (!this.growing) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) this.growing.push(this.pointOf(one));
    this.extend();
  }

  /** Begin a stroke; what was shown before is put away. @param {[number, number]} point */
  start(point) {
    if (this.covered) this.strokes = [];
    this.covered = false;
    this.growing = [point];
    this.strokes.push(this.growing);
    this.extend();
  }

  end() {
    if (!this.growing) return;
    this.growing = null;
    this.down = false;
    this.changed();
  }

  /** Draw the strokes, and tell once in a frame. */
  extend() {
    this.redraw();
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      this.changed();
    });
  }

  /** Draw paper and strokes anew. */
  redraw() {
    const drawing = context(this.canvas);
    drawing.fillStyle = "#ffffff";
    drawing.fillRect(0, 0, SIDE, SIDE);
    drawing.lineWidth = LINE;
    drawing.lineCap = drawing.lineJoin = "round";
    drawing.strokeStyle = this.ink;
    for (const stroke of this.strokes) {
      drawing.beginPath();
      drawing.moveTo(...stroke[0]);
      for (const point of stroke) drawing.lineTo(...point);
      drawing.stroke();
    }
    if (document.activeElement === this.canvas && this.keyed) {
      drawing.lineWidth = 2;
      drawing.strokeStyle = this.down ? "#d55e00" : "#0072b2";
      drawing.beginPath();
      drawing.arc(...this.pen, LINE / 2, 0, 7);
      drawing.stroke();
    }
  }

  /** Tell what is on the paper, without the ring that shows where the pen is. */
  changed() {
    const ring = this.keyed;
    this.keyed = false;
    this.redraw();
    const { data } = context(this.canvas).getImageData(0, 0, SIDE, SIDE);
    this.keyed = ring;
    if (ring) this.redraw();
    this.drawn(data, SIDE);
  }

  clear() {
    this.strokes = [];
    this.covered = false;
    this.redraw();
    this.changed();
  }

  undo() {
    this.strokes.pop();
    this.redraw();
    this.changed();
  }

  /** Put a picture on the paper, until somebody draws. @param {CanvasImageSource} picture */
  cover(picture) {
    this.strokes = [];
    this.covered = true;
    const drawing = context(this.canvas);
    drawing.fillStyle = "#ffffff";
    drawing.fillRect(0, 0, SIDE, SIDE);
    drawing.imageSmoothingEnabled = false;
    drawing.drawImage(picture, 0, 0, SIDE, SIDE);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    /** @type {Object<string, [number, number]>} */
    const moves = {
      ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
    };
    const move = moves[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (move) {
      this.pen = [clamp(this.pen[0] + move[0]), clamp(this.pen[1] + move[1])];
      if (this.down && this.growing) this.growing.push(this.pen);
    } else if (event.key === " " || event.key === "Enter") {
      this.down = !this.down;
      if (this.down) this.start(this.pen);
      else this.end();
    } else return;
    event.preventDefault();
    this.keyed = true;
    if (this.down) this.extend();
    else if (!this.covered) this.redraw();
  }
}

/** @param {number} v */
function clamp(v) {
  return Math.max(0, Math.min(SIDE, v));
}

// Which key was meant, whatever the keyboard is set to, and what a key that is held down may do.

const HELD_DOWN = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "+", "=", "-", "[", "]"]);
const SCROLLS = new Set([..."Tab ArrowLeft ArrowRight ArrowUp ArrowDown PageUp PageDown Home End".split(" "), " "]);
const WITH_OTHERS = /^(Shift|Control|Alt|AltGraph|Meta|CapsLock|NumLock|Fn|HangulMode|HanjaMode)$/;

// With a Hangul layout O is ㅐ, or "Process" while the input method works: then the key's place says which letter it is.
export function keyOf({ key, code }) {
  const letter = /^Key([A-Z])$/.exec(code)?.[1];
  const isOwn = /^[ -~]$/.test(key) || (key.length > 1 && key !== "Process" && key !== "Unidentified");
  if (letter && !isOwn) return letter.toLowerCase();
  return key.length === 1 ? key.toLowerCase() : key;
}

// A key held down repeats itself: it would decide parts that nobody has seen.
export const mayRepeat = (name) => HELD_DOWN.has(name);

// What the browser itself does with a key: moves on, or scrolls.
export const scrolls = (name) => SCROLLS.has(name);

export const isWithOthers = (name) => WITH_OTHERS.test(name);

// Enter and Space are those of the link or button that has the focus.
export function isOfButton(name, target) {
  return (name === "Enter" || name === " ") && Boolean(target.closest?.("a[href], button"));
}

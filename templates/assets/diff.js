// The difference of two texts, line by line, bounded in time and memory. No DOM here.
"use strict";
(() => {
  const api = globalThis.cnrmirror;
  const MOST = 1000;
  const lines = (text) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

  /** Myers' shortest script from a to b as pairs of equal lines; null if it has more than MOST steps. */
  function matches(a, b) {
    const offset = MOST + 1, ends = new Int32Array(2 * MOST + 3), trail = [];
    for (let d = 0; d <= Math.min(MOST, a.length + b.length); d++) {
      trail.push(ends.slice(offset - d - 1, offset + d + 2));
      for (let k = -d; k <= d; k += 2) {
        const down = k === -d || (k !== d && ends[offset + k - 1] < ends[offset + k + 1]);
        let x = down ? ends[offset + k + 1] : ends[offset + k - 1] + 1;
        while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
        ends[offset + k] = x;
        if (x >= a.length && x - k >= b.length) return walkBack(trail, a.length, b.length);
      }
    }
    return null;
  }

  function walkBack(trail, x, y) {
    const pairs = [];
    for (let d = trail.length - 1; d >= 0; d--) {
      const ends = trail[d], at = (k) => ends[k + d + 1], k = x - y;
      const down = k === -d || (k !== d && at(k - 1) < at(k + 1));
      const startX = d ? (down ? at(k + 1) : at(k - 1)) : 0, startY = d ? startX - (down ? k + 1 : k - 1) : 0;
      const middle = d ? (down ? startX : startX + 1) : 0;
      while (x > middle) pairs.push([--x, --y]);
      [x, y] = [startX, startY];
    }
    return pairs.reverse();
  }

  /** Rows of both texts: sign " ", "+" or "-", the line, and its numbers a and b (from 1). */
  function rows(oldText, newText) {
    const a = lines(oldText), b = lines(newText), out = [];
    let head = 0, tail = 0;
    while (head < Math.min(a.length, b.length) && a[head] === b[head]) head++;
    while (tail < Math.min(a.length, b.length) - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
    const pairs = matches(a.slice(head, a.length - tail), b.slice(head, b.length - tail)) ?? [];
    const equal = [...Array(head).keys()].map((n) => [n, n])
      .concat(pairs.map(([x, y]) => [x + head, y + head]))
      .concat([...Array(tail).keys()].map((n) => [a.length - tail + n, b.length - tail + n]));
    let x = 0, y = 0;
    for (const [p, q] of [...equal, [a.length, b.length]]) {
      for (; x < p; x++) out.push({ sign: "-", text: a[x], a: x + 1 });
      for (; y < q; y++) out.push({ sign: "+", text: b[y], b: y + 1 });
      if (p < a.length) out.push({ sign: " ", text: a[x++], a: x, b: ++y });
    }
    return out;
  }

  /** Rows without what is far from a change; a row with "gap" says how many lines are left out. */
  function fold(all, around = 3) {
    const near = new Uint8Array(all.length), out = [];
    all.forEach((row, n) => row.sign !== " " && near.fill(1, Math.max(0, n - around), n + around + 1));
    for (let n = 0; n < all.length; n++) {
      if (near[n]) out.push(all[n]);
      else if (out.at(-1)?.gap) out.at(-1).gap++;
      else out.push({ gap: 1 });
    }
    return out;
  }

  api.diff = { rows, fold };
})();

// The difference of two texts, line by line, bounded in time and memory. No DOM here.
"use strict";
(() => {
  const MOST = 1000;
  const lines = (text) => text.match(/[^\n]*\n|[^\n]+$/g) ?? [];

  /** Pairs of equal lines of a and b (Myers, O(ND)); none if more than MOST lines differ. */
  function matches(a, b) {
    const zero = MOST + 1, ends = new Int32Array(2 * zero + 1), trail = [];
    for (let d = 0; d <= MOST; d++) {
      for (let k = -d; k <= d; k += 2) {
        const down = k === -d || (k !== d && ends[zero + k - 1] < ends[zero + k + 1]);
        let x = d && (down ? ends[zero + k + 1] : ends[zero + k - 1] + 1);
        while (x < a.length && x - k < b.length && a[x] === b[x - k]) x++;
        ends[zero + k] = x;
        if (x >= a.length && x - k >= b.length) return walkBack(trail, d, x, x - k);
      }
      trail.push(ends.slice(zero - d, zero + d + 1));
    }
    return [];
  }

  /** The pairs on the way to (x, y): trail[d] has the ends of all ways with d steps. */
  function walkBack(trail, d, x, y) {
    const pairs = [];
    for (; d >= 0; d--) {
      const k = x - y, end = (j) => trail[d - 1]?.[j + d - 1] ?? -1;
      const down = k === -d || (k !== d && end(k - 1) < end(k + 1));
      const last = d && (down ? end(k + 1) : end(k - 1)), start = d && (down ? last : last + 1);
      while (x > start) pairs.push([--x, --y]);
      [x, y] = [last, last - (down ? k + 1 : k - 1)];
    }
    return pairs.reverse();
  }

  /** The lines of both texts, each with its sign: " ", "+" or "-". */
  function rows(oldText, newText) {
    const a = lines(oldText), b = lines(newText), least = Math.min(a.length, b.length), out = [];
    let head = 0, tail = 0, x = 0, y = 0;
    while (head < least && a[head] === b[head]) head++;
    while (tail < least - head && a.at(-1 - tail) === b.at(-1 - tail)) tail++;
    const upTo = (p, q) => {
      while (x < p) out.push({ sign: "-", text: a[x++] });
      while (y < q) out.push({ sign: "+", text: b[y++] });
    };
    const equal = (count) => { for (; count--; y++) out.push({ sign: " ", text: a[x++] }); };
    equal(head);
    for (const [p, q] of matches(a.slice(head, a.length - tail), b.slice(head, b.length - tail))) {
      upTo(p + head, q + head);
      equal(1);
    }
    upTo(a.length - tail, b.length - tail);
    equal(tail);
    return out;
  }

  /** Rows without what is far from a change; a row with gap tells how many lines are left out. */
  function fold(all, around = 3) {
    const near = new Uint8Array(all.length), out = [];
    all.forEach(({ sign }, n) => sign === " " || near.fill(1, Math.max(0, n - around), n + around + 1));
    all.forEach((row, n) => {
      if (near[n]) out.push(row);
      else if (out.at(-1)?.gap) out.at(-1).gap++;
      else out.push({ gap: 1 });
    });
    return out;
  }

  globalThis.cnrmirror.diff = { rows, fold };
})();

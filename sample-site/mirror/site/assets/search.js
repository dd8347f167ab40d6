"use strict";
// Search without a server. The files of search/ call c and r; views/searchshards.py writes them.
(() => {
  const space = (globalThis.cnrmirror ??= {});
  const stop = new Set(("a an and as at be by can for from in into is it of on or that the this to " +
    "using via which with you your are its will").split(" "));
  const nodes = new Map(), records = new Map(), loads = new Map();
  let digits = 0;

  const load = (file) => {
    if (!loads.has(file)) {
      loads.set(file, new Promise((done, fail) => {
        const script = document.createElement("script");
        script.src = `${document.documentElement.dataset.root}search/${file}.js`;
        script.onload = done;
        script.onerror = () => { loads.delete(file); fail(new Error(`search/${file}.js cannot be loaded`)); };
        document.head.append(script);
      }));
    }
    return loads.get(file);
  };
  const node = async (prefix) => {
    await load("s-" + prefix);
    return nodes.get(prefix) ?? [];
  };
  const note = ([name, release, description]) => (records.set(name, { release, description }), name);

  const short = (name) => name.slice(name.indexOf("/") + 1).toLowerCase();
  // 0 is best: the name itself, a name that begins so, a word of a name, a keyword, a description.
  const grade = (name, word, kind, exact) => {
    const own = short(name);
    if (kind) return 2 + 2 * kind + !exact;
    return own === word ? 0 : (own.startsWith(word) ? 1 : 2) + !exact;
  };
  const match = async (word) => {
    const found = new Map(), all = { found, word, part: false };
    const add = (name, kind, exact) => {
      if (Array.isArray(name)) name = note(name);
      const value = grade(name, word, kind, exact);
      if (!(found.get(name) <= value)) found.set(name, value);
    };
    const read = (rows) => {
      for (const [key, ...kinds] of rows) if (key.startsWith(word)) kinds.forEach((names, kind) => names.forEach((name) => add(name, kind, key === word)));
    };
    let prefix = "", here = await node("");
    try {
      while (!Array.isArray(here) && prefix !== word) {
        prefix = word.slice(0, prefix.length + 1);
        here = here.k.includes(prefix.at(-1)) ? await node(prefix) : [];
      }
      if (Array.isArray(here)) read(here);
      else {
        all.part = true;
        here.t.forEach((row) => add(row, 0, false));
        if (here.o) read(await node(word + "-"));
      }
    } catch {
      space.search.failed = true;
    }
    return all;
  };
  // What a few letters find is only the best; names that others found are looked at themselves.
  const value = (all, name) => all.found.get(name) ??
    (all.part && short(name).split(/[^a-z0-9]+/).some((part) => part.startsWith(all.word)) ? grade(name, all.word, 0, false) : undefined);

  const order = (name) => [short(name).split(/[-_.]/).length, name.length, name];
  const compare = (a, b) => { for (let i = 0; ; i++) if (a[i] !== b[i] || i > 2) return a[i] < b[i] ? -1 : 1; };
  const key = (name) => {
    let sum = -1;
    for (let i = 0; i < name.length; i++) {
      sum ^= name.charCodeAt(i);
      for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
    }
    return (~sum >>> 0).toString(16).padStart(8, "0").slice(0, digits);
  };

  const find = async (query) => {
    const typed = (String(query).slice(0, 200).match(/[a-z0-9]+/gi) ?? []).map((word) => word.toLowerCase());
    const kept = typed.filter((word) => !stop.has(word));
    const words = (kept.length ? kept : typed.slice(-1)).slice(0, 8);
    if (!words.length) return [];
    space.search.failed = false;
    await node("");
    const each = await Promise.all(words.map(match));
    const joined = words.length > 1 ? await match(words.join("")) : { found: new Map() };
    const rows = [];
    for (const name of new Set([...each, joined].flatMap((all) => [...all.found.keys()]))) {
      const sum = each.reduce((total, all) => total + value(all, name), 0);
      const best = Math.min(Number.isNaN(sum) ? Infinity : sum, joined.found.get(name) ?? Infinity);
      if (best < Infinity) rows.push([best, ...order(name)]);
    }
    const names = rows.sort(compare).slice(0, 20).map((row) => row[3]);
    const lacking = names.filter((name) => !records.has(name)).map((name) => load("r-" + key(name)));
    await Promise.allSettled(lacking);
    return names.map((name) => ({ package: name, ...(records.get(name) ?? { release: "", description: "" }) }));
  };
  const c = (prefix, body, count) => { nodes.set(prefix, body); if (!prefix) digits = count; };
  const r = (rows) => rows.forEach(note);
  space.search = { find, c, r, failed: false };
})();

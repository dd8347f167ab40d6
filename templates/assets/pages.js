// What the pages do: the line about signatures, releases and comparisons, search, copying.
// Text enters by textContent and fixed attribute names only; nothing is asked of another host.
"use strict";
(() => {
  const api = globalThis.cnrmirror, { Problem, archive, diff } = api;
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const html = document.documentElement, name = html.dataset.package ?? "";
  const base = new URL(html.dataset.root || "./", location.href.split("#")[0]);
  const TEXT_MAX = 1 << 20, ROWS_MAX = 20000;

  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }
  const link = (text, href, more) => make("a", { href, ...more }, text);
  const bytes = (n) => (n < 1000 ? `${n} B` : n < 999950 ? `${(n / 1000).toFixed(1)} KB` : `${(n / 1e6).toFixed(1)} MB`);
  const day = (time) => String(time).slice(0, 10);
  // What would not be seen, or would turn text around, is written out.
  const visible = (text) => text.replace(/[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\u27e6U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e7`);

  // ---- bytes: from the site, or from the folder that was chosen
  let chosen = null;
  async function read(path, max) {
    if (chosen) {
      const file = chosen.get(path);
      if (!file) throw new Problem("missing", "is not in the folder", path);
      return new Uint8Array(await file.slice(0, max + 1).arrayBuffer());
    }
    if (location.protocol === "file:") throw new Problem("cannot", "on a disk, a page cannot read its neighbours");
    let answer;
    const parts = [];
    let size = 0;
    try {
      answer = await fetch(new URL(path, base), { cache: "no-cache", credentials: "omit", redirect: "error" });
      if (answer.ok) {
        const reader = answer.body.getReader();
        for (let step; !(step = await reader.read()).done; ) {
          parts.push(step.value);
          if ((size += step.value.length) > max) {
            reader.cancel();
            break;
          }
        }
      }
    } catch {
      throw new Problem("unavailable", "cannot be reached", path);
    }
    if (!answer.ok) throw new Problem(answer.status === 404 ? "missing" : "unavailable", `answers ${answer.status}`, path);
    return new Uint8Array(await new Blob(parts).arrayBuffer()).subarray(0, max + 1);
  }

  /** The folder that was chosen, as paths below the site: it may be the site, or hold it. */
  function filesBelow(list) {
    const end = "catalog/metadata/timestamp.json";
    const files = new Map([...list].map((file) => [file.webkitRelativePath, file]));
    const top = [...files.keys()].filter((path) => path.endsWith(end)).sort((a, b) => a.length - b.length)[0];
    const cut = top ? top.length - end.length : 0;
    return new Map([...files].filter(([path]) => path.startsWith(top?.slice(0, cut) ?? "")).map(([path, file]) => [path.slice(cut), file]));
  }

  const memory = {
    get(registry) {
      try {
        return JSON.parse(localStorage.getItem(`cnrmirror ${registry}`));
      } catch {
        return null;
      }
    },
    set(registry, mark) {
      try {
        localStorage.setItem(`cnrmirror ${registry}`, JSON.stringify(mark));
      } catch {
        // Nothing is remembered then: the check is as good as without memory.
      }
    },
  };

  // ---- the line about signatures
  const WORDS = {
    good: ["ok", "\u2713 Signatures check"], expired: ["bad", "\u2717 Expired"], refused: ["bad", "\u2717 Refused"],
    missing: ["bad", "\u2717 A file is missing"], unavailable: ["warn", "Not reached"], cannot: ["warn", "Not checked here"],
    newer: ["warn", "Needs a newer page"], nothing: ["warn", "Nothing to check against"],
  };
  function say(result) {
    const [look, words] = WORDS[result.kind], line = find("#check");
    const until = result.until && new Date(result.until).toISOString().slice(0, 16).replace("T", " ");
    const rest = result.kind === "good" ? `revision ${result.revision}, fresh until ${until} UTC`
      : [result.path, result.reason].filter(Boolean).join(" ");
    line.parentElement.parentElement.className = `check ${look}`;
    line.replaceChildren(`${words}: ${visible(rest)}. `, link("What this proves, and what not", new URL("trust.html", base)));
    line.dataset.kind = result.kind;
  }

  // ---- releases
  let result = { kind: "cannot" }, releases = [];
  const verified = () => Boolean(result.document);
  const fromRow = ({ dataset: d }) => ({ release: d.release, media_type: d.type, blob: { digest: d.blob, size: +d.size } });
  const ref = (one) => `${one.release}${releases.filter((r) => r.release === one.release).length > 1 ? `:${one.media_type}` : ""}`;
  function pick(text, like) {
    const [release, type] = text.split(":");
    const found = releases.filter((r) => r.release === release && (!type || r.media_type === type));
    return found.find((r) => r.media_type === like?.media_type) ?? found[0];
  }
  const pathOf = ({ digest }) => `catalog/blobs/sha256/${digest.slice(0, 2)}/${digest}`;

  /** The files of a release; checked against the digest wherever the browser can. */
  async function filesOf({ blob }) {
    const path = pathOf(blob);
    const data = globalThis.crypto?.subtle ? await api.fetchNamed(read, path, blob.size, blob.digest, 100e6)
      : await read(path, blob.size);
    return archive.shown(await archive.unpack(data));
  }
  function textOf(file) {
    if (file.kind !== "file") return `(${file.kind}${file.target && ` to ${visible(file.target)}`})\n`;
    try {
      const text = new TextDecoder("utf-8", { fatal: true }).decode(file.body);
      return text.includes("\0") ? null : text;
    } catch {
      return null;
    }
  }

  function tree(paths, depth, here, one) {
    const list = make("ul", { class: "tree" }), folders = new Map();
    for (const path of paths) {
      const parts = path.split("/"), folder = parts[depth];
      if (parts.length === depth + 1) list.append(make("li", {}, link(visible(folder), address(one, path), path === here ? { "aria-current": "true" } : {})));
      else folders.set(folder, [...(folders.get(folder) ?? []), path]);
    }
    for (const [folder, inside] of folders) list.append(make("li", {}, make("span", { class: "dim" }, `${visible(folder)}/`), tree(inside, depth + 1, here, one)));
    return list;
  }
  const address = (one, path) => `#/${ref(one)}${path ? `/${path.split("/").map(encodeURIComponent).join("/")}` : ""}`;

  /** A text with its line numbers; of YAML, keys and comments stand out. */
  function code(path, text) {
    const lines = visible(text).split("\n"), body = make("pre", { tabindex: 0, role: "region", "aria-label": path });
    if (lines.at(-1) === "") lines.pop();
    if (!/\.ya?ml$/.test(path) || lines.length > 3000) body.append(lines.join("\n"));
    else for (const line of lines) {
      const [, lead, key, rest, note] = /^(\s*(?:- )?)([\w.\/-]+(?=:(?:\s|$)))?(.*?)((?:^|\s)#.*)?$/s.exec(line);
      body.append(lead, ...(key ? [make("b", {}, key)] : []), rest, ...(note ? [make("i", {}, note)] : []), "\n");
    }
    return make("div", { class: "code" }, make("pre", { "aria-hidden": "true" }, lines.map((_, n) => n + 1).join("\n")), body);
  }

  async function drawRelease(view, one, wanted) {
    const files = await filesOf(one), paths = [...files.keys()];
    const first = wanted || ["values.yaml", "README.md", "manifest.yaml", "Chart.yaml"].find((n) => files.has(n)) || paths[0];
    const file = files.get(first), text = file && textOf(file);
    const folded = make("details", matchMedia("(min-width:50rem)").matches ? { open: "" } : {}, make("summary", {}, `${paths.length} files`), tree(paths, 0, first, one));
    const shown = make("div", {}, make("p", { class: "file" }, visible(first ?? ""), file ? ` · ${bytes(file.body.length)}` : ""));
    if (!file) shown.append(make("p", { class: "bad" }, "This release has no such file."));
    else if (text === null || text.length > TEXT_MAX) shown.append(make("p", { class: "dim" }, "This file is no text, or too long to be shown: download the archive."));
    else shown.append(code(first, text));
    const other = make("select", { "aria-label": "Release to compare with" }, ...releases.filter((r) => r !== one).map((r) => make("option", {}, ref(r))));
    const button = make("button", { type: "button" }, "Compare");
    button.addEventListener("click", () => (location.hash = `#/${other.value}...${ref(one)}`));
    view.append(
      heading(`${name} ${one.release}`),
      make("p", { class: "dim" }, [one.media_type, one.created_at && day(one.created_at), bytes(one.blob.size), `sha256 ${one.blob.digest}`].filter(Boolean).join(" · ")),
      make("div", { class: "act" }, link("Download", new URL(pathOf(one.blob), base), { class: "button", download: `${name.split("/")[1]}-${one.release}.tgz` }), ...(releases.length > 1 ? [other, button] : [])),
      make("div", { class: "split" }, folded, shown),
    );
  }
  const heading = (text) => make("h2", { tabindex: -1 }, visible(text));

  function drawDiff(path, before, after, room) {
    const [a, b] = [before, after].map((file) => (file ? textOf(file) : ""));
    const what = !before ? "added" : !after ? "removed" : "changed", box = make("details", { open: "" });
    if (a === null || b === null || a.length + b.length > 2 * TEXT_MAX) {
      box.append(make("summary", {}, `${visible(path)} `, make("span", { class: "dim" }, what)), make("p", { class: "dim" }, "No text, or too long to be compared here."));
      return [box, 0, 0, 0];
    }
    const rows = diff.rows(a, b), count = (sign) => rows.filter((row) => row.sign === sign).length;
    const [plus, minus] = [count("+"), count("-")], pre = make("pre", { class: "diff", tabindex: 0, role: "region", "aria-label": `Difference of ${path}` });
    const folded = diff.fold(rows).slice(0, room);
    for (const row of folded) {
      const end = row.gap || row.text.endsWith("\n") ? "" : " \u27e6no line end\u27e7";
      pre.append(row.gap ? make("span", { class: "gap" }, `\u22ef ${row.gap} equal lines`)
        : make("span", { class: { "+": "add", "-": "del", " ": "" }[row.sign] }, `${row.sign} ${visible(row.text.replace(/\r?\n$/, (e) => (e === "\n" ? "" : "\u240d")))}${end}`));
    }
    box.append(make("summary", {}, `${visible(path)} `, make("span", { class: "dim" }, `${what} +${plus} \u2212${minus}`)), pre);
    if (folded.length === room) box.append(make("p", { class: "dim" }, "The rest is not shown: there is too much of it."));
    return [box, plus, minus, folded.length];
  }

  const equal = (a, b) => a.kind === b.kind && a.target === b.target && a.body.length === b.body.length && a.body.every((byte, n) => byte === b.body[n]);

  async function drawComparison(view, one, two) {
    const [a, b] = await Promise.all([filesOf(one), filesOf(two)]), boxes = [];
    let plus = 0, minus = 0, room = ROWS_MAX, same = 0;
    for (const path of [...new Set([...a.keys(), ...b.keys()])].sort()) {
      if (a.has(path) && b.has(path) && equal(a.get(path), b.get(path))) {
        same++;
        continue;
      }
      const [box, more, less, used] = drawDiff(path, a.get(path), b.get(path), room);
      boxes.push(box);
      plus += more, minus += less, room -= used;
    }
    view.append(
      heading(`${name}: ${ref(one)} \u2192 ${ref(two)}`),
      make("p", { class: "dim" }, `${boxes.length} files differ, ${same} are equal. +${plus} \u2212${minus} lines.`),
      make("div", { class: "act" }, link(`Files of ${ref(one)}`, address(one)), link(`Files of ${ref(two)}`, address(two)), link("The other way round", `#/${ref(two)}...${ref(one)}`)),
      ...boxes,
    );
  }

  let turn = 0;
  async function route() {
    const view = find("#view"), page = find("#static"), mine = ++turn;
    if (!view) return;
    const shows = location.hash.startsWith("#/");
    const was = !view.hidden;
    view.hidden = !shows;
    page.hidden = shows;
    if (!shows) {
      if (was && !location.hash.slice(1)) find("main").focus({ preventScroll: true });
      else if (was) find(`[id="${CSS.escape(location.hash.slice(1))}"]`)?.scrollIntoView();
      return;
    }
    const fresh = [make("p", { class: "path" }, link(`\u2190 ${name}`, "#"))];
    const box = make("div");
    try {
      const hash = location.hash.slice(2), [left, right] = hash.split("...");
      const slash = hash.indexOf("/");
      if (right) {
        const two = pick(decodeURIComponent(right)), one = pick(decodeURIComponent(left), two);
        if (!one || !two) throw new Problem("missing", "This mirror has no such release.");
        await drawComparison(box, one, two);
      } else {
        const one = pick(decodeURIComponent(slash < 0 ? hash : hash.slice(0, slash)));
        if (!one) throw new Problem("missing", "This mirror has no such release.");
        await drawRelease(box, one, slash < 0 ? "" : decodeURIComponent(hash.slice(slash + 1)));
      }
      if (!verified()) fresh.push(make("p", { class: "note" }, "Not checked here: these are the bytes that the host sent."));
    } catch (error) {
      box.replaceChildren(heading("This cannot be shown"), make("p", { class: "bad", role: "alert" }, visible([error.path, error.message].filter(Boolean).join(" "))));
    }
    if (mine !== turn) return;
    view.replaceChildren(...fresh, box);
    view.dataset.drawn = location.hash;
    const top = find("h2", view);
    top.focus({ preventScroll: true });
    view.scrollIntoView({ block: "start" });
  }

  /** What of a package's page needs the script: links to releases, the form, the long list. */
  function wake() {
    releases = result.document?.releases ?? all("#rows [data-blob]").map(fromRow);
    const may = verified() || ["cannot", "newer", "nothing"].includes(result.kind);
    if (!name || !may || (location.protocol === "file:" && !chosen)) return;
    for (const row of all("#rows [data-blob]")) {
      const head = find("th", row).firstChild;
      if (head.nodeType === 3) head.replaceWith(link(head.data, address(fromRow(row))));
    }
    for (const a of all("[data-view]")) a.setAttribute("href", address(pick(a.dataset.view)));
    for (const a of all("a.script")) a.hidden = false;
    const form = find("#compare"), more = find("#more button");
    if (releases.length > 1) {
      const [old, fresh] = all("select", form);
      for (const select of [old, fresh]) select.replaceChildren(...releases.map((r) => make("option", {}, ref(r))));
      old.selectedIndex = releases.findIndex((r, n) => n && r.media_type === releases[0].media_type);
      if (old.selectedIndex < 0) old.selectedIndex = 1;
      form.hidden = false;
    }
    if (more && verified()) more.hidden = false;
    route();
  }
  function listMore(event) {
    const listed = new Set(all("#rows [data-blob]").map(({ dataset: d }) => `${d.release} ${d.type}`)), last = all("#rows [data-blob]").at(-1);
    last.after(...releases.filter((r) => !listed.has(`${r.release} ${r.media_type}`)).map((r) => make("tr", {},
      make("th", { scope: "row" }, link(r.release, address(r))), make("td", {}, r.media_type), make("td", {}, day(r.created_at)),
      make("td", { class: "n" }, bytes(r.blob.size)), make("td", {}, link("Download", new URL(pathOf(r.blob), base), { download: `${name.split("/")[1]}-${r.release}.tgz` })), make("td", {}, visible(r.origin)))));
    event.target.parentElement.remove();
    find("#releases").setAttribute("tabindex", -1);
    find("#releases").focus();
  }

  async function check() {
    result = await api.verify({ read, pin: api.pin ?? null, name, memory });
    say(result);
    wake();
  }

  // ---- copying
  function copies(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const pre = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(pre.textContent);
      } catch {
        getSelection().selectAllChildren(pre);
        document.execCommand("copy");
      }
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
    });
  }

  // ---- search: the combobox of the ARIA authoring practices
  function searching() {
    const form = find(".search"), input = find("#query"), list = find("#hits");
    let at = -1, asked = 0;
    const mark = (n) => {
      at = n;
      [...list.children].forEach((option, m) => option.setAttribute("aria-selected", m === n));
      if (n < 0) input.removeAttribute("aria-activedescendant");
      else input.setAttribute("aria-activedescendant", list.children[n].id);
      list.children[n]?.scrollIntoView({ block: "nearest" });
    };
    const show = (rows) => {
      list.replaceChildren(...rows.map((row, n) => {
        const option = make("li", { id: `hit-${n}`, role: "option" }, `${row.package} `, make("span", { class: "dim" }, row.release ?? ""), make("small", {}, row.description));
        option.dataset.href = new URL(`packages/${row.package}/index.html`, base);
        return option;
      }));
      list.hidden = !rows.length;
      input.setAttribute("aria-expanded", rows.length > 0);
      mark(-1);
    };
    const ask = async () => {
      const mine = ++asked, words = input.value.trim();
      let rows = [], told = "";
      try {
        rows = words ? await api.search.find(words) : [];
        told = words && (rows.length ? `${rows.length} packages found` : "No package found");
      } catch {
        told = "The search index cannot be read";
      }
      if (mine !== asked) return;
      show(rows);
      find("#hits-count").textContent = told;
    };
    const open = (option) => option && (location.href = option.dataset.href);
    input.addEventListener("input", ask);
    input.addEventListener("keydown", (event) => {
      const n = list.children.length;
      if (event.key === "ArrowDown" && n) mark((at + 1) % n);
      else if (event.key === "ArrowUp" && n) mark((at < 1 ? n : at) - 1);
      else if (event.key === "Enter") open(list.children[Math.max(at, 0)]);
      else if (event.key === "Escape") list.hidden ? (input.value = "") : show([]);
      else return;
      event.preventDefault();
    });
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => open(event.target.closest("li")));
    input.addEventListener("blur", () => show([]));
    input.addEventListener("focus", () => input.value && ask());
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input,select,textarea")) return;
      event.preventDefault();
      input.focus();
    });
    form.hidden = !api.search;
  }

  function start() {
    all("[data-copy]").forEach(copies);
    searching();
    addEventListener("hashchange", route);
    find("#compare")?.addEventListener("submit", (event) => {
      event.preventDefault();
      location.hash = `#/${event.target.elements.old.value}...${event.target.elements.new.value}`;
    });
    find("#more button")?.addEventListener("click", listMore);
    const chooser = find("#pick input");
    chooser.addEventListener("change", () => {
      chosen = filesBelow(chooser.files);
      check();
    });
    find("#pick").hidden = location.protocol !== "file:";
    check();
  }
  start();
})();

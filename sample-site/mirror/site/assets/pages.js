// What the pages do: the line about signatures, releases and comparisons, search, copying.
// Text enters as text and in attributes of fixed names only; nothing is asked of another host.
"use strict";
(() => {
  const api = globalThis.cnrmirror, { Problem, archive, diff } = api;
  const find = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const { package: name = "", root } = document.documentElement.dataset, short = name.split("/")[1];
  const base = new URL(root || "./", location.href.split("#")[0]), isFile = location.protocol === "file:";
  const TEXT_MAX = 1 << 20, ROWS_MAX = 20000, ARCHIVE_MAX = 1e8;

  // What would not be seen, or would turn text around, is written out.
  const visible = (text) => String(text).replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (char) => `\u27e8${char.charCodeAt(0).toString(16)}\u27e9`);
  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const key in attributes) element.setAttribute(key, attributes[key]);
    element.append(...children.map((child) => (child instanceof Node ? child : visible(child))));
    return element;
  }
  const link = (text, href, more) => make("a", { href, ...more }, text);
  const dim = (...words) => make("p", { class: "dim" }, words.filter(Boolean).join(" · "));
  const bytes = (n) => (n < 1e3 ? `${n} B` : n < 1e6 ? `${(n / 1e3).toFixed(1)} KB` : `${(n / 1e6).toFixed(1)} MB`);

  // ---- bytes: from the site, or from the folder that was chosen
  let chosen;
  async function read(path, max) {
    if (isFile) {
      if (!chosen) throw new Problem("cannot", "on a disk, a page cannot read its neighbours");
      if (!chosen.has(path)) throw new Problem("missing", "is not in the folder", path);
      return new Uint8Array(await chosen.get(path).slice(0, max + 1).arrayBuffer());
    }
    const parts = [];
    let size = 0, status;
    try {
      const answer = await fetch(new URL(path, base), { cache: "no-cache", credentials: "omit", redirect: "error" });
      if (!answer.ok) throw (status = answer.status);
      const reader = answer.body.getReader();
      for (let step; size <= max && !(step = await reader.read()).done; size += step.value.length) parts.push(step.value);
      if (size > max) reader.cancel();
    } catch {
      throw new Problem(status === 404 ? "missing" : "unavailable", status ? `answers ${status}` : "cannot be reached", path);
    }
    return new Uint8Array(await new Blob(parts).slice(0, max + 1).arrayBuffer());
  }

  /** The files of a folder as paths below the site, which is the folder, or in it. */
  function filesBelow(files) {
    const cut = Math.max(...files.map((file) => file.webkitRelativePath.indexOf("catalog/metadata/timestamp.json")), 0);
    return new Map(files.map((file) => [file.webkitRelativePath.slice(cut), file]));
  }

  // Without a memory the check is as good as a first one.
  const remembered = (registry, mark) => {
    try {
      const key = `cnrmirror ${registry}`;
      return mark ? localStorage.setItem(key, JSON.stringify(mark)) : JSON.parse(localStorage.getItem(key));
    } catch {
      return null;
    }
  };

  // ---- the line about signatures
  const LINES = {
    good: ["ok", "\u2713 Signatures check"], expired: ["bad", "\u2717 Expired"], refused: ["bad", "\u2717 Refused"],
    missing: ["bad", "\u2717 Missing"], unavailable: ["warn", "Not reached"], cannot: ["warn", "Not checked here"],
    newer: ["warn", "Needs a newer page"], nothing: ["warn", "Nothing to check against"],
  };
  let result, releases = [];
  async function check() {
    result = await api.verify({ read, pin: api.pin, name, memory: { get: remembered, set: remembered } });
    const { kind, revision, until, path, reason } = result, [look, words] = LINES[kind], line = find("#check");
    const rest = kind === "good" ? `revision ${revision}, fresh until ${new Date(until).toISOString().slice(0, 16).replace("T", " ")} UTC`
      : `${path || ""} ${reason}`.trim();
    find(".check").className = `check ${look}`;
    line.replaceChildren(visible(`${words}: ${rest}. `), link("What this proves, and what not", new URL("trust.html", base)));
    line.dataset.kind = kind;
    if (name) wake();
  }

  // ---- releases
  const fromRow = ({ dataset: d }) => ({ release: d.release, media_type: d.type, blob: { digest: d.blob, size: +d.size } });
  const called = ({ release, media_type }) => release + (releases.filter((one) => one.release === release).length > 1 ? `:${media_type}` : "");
  const address = (one, path = "") => `#/${called(one)}${path && `/${encodeURIComponent(path).replaceAll("%2F", "/")}`}`;
  const pathOf = ({ digest }) => `catalog/blobs/sha256/${digest.slice(0, 2)}/${digest}`;
  const download = ({ release, blob }) => link("Download", new URL(pathOf(blob), base), { class: "button", download: `${short}-${release}.tgz` });
  const options = (some) => some.map((one) => make("option", {}, called(one)));

  /** The release of "1.2.0" or "1.2.0:kpm"; of the type of another one, if there is no type. */
  function named(text, like) {
    const [release, type] = text.split(":"), found = releases.filter((one) => one.release === release && (!type || one.media_type === type));
    if (!found.length) throw new Problem("missing", `This mirror has no release ${text}`);
    return found.find((one) => one.media_type === like?.media_type) ?? found[0];
  }

  const opened = new Map();
  /** The files of a release; their archive has its digest, where the browser can tell. */
  async function filesOf({ blob }) {
    const digest = globalThis.crypto?.subtle && blob.digest;
    if (!opened.has(blob.digest)) opened.set(blob.digest, archive.shown(await archive.unpack(await api.take(read, pathOf(blob), ARCHIVE_MAX, digest, blob.size))));
    return opened.get(blob.digest);
  }

  /** The text of a file; null if it is none, or too long to be drawn. */
  function textOf(file) {
    if (!file) return "";
    if (file.kind !== "file") return `(${file.kind}) ${file.target}\n`;
    try {
      const text = file.body.length > TEXT_MAX ? "\0" : new TextDecoder("utf-8", { fatal: true }).decode(file.body);
      return text.includes("\0") ? null : text.replaceAll("\r\n", "\u240d\n");
    } catch {
      return null;
    }
  }
  const noText = () => dim("No text, or too long to be shown. Download the archive.");

  function tree(paths, from, here, one) {
    const list = make("ul", { class: "tree" }), folders = new Map();
    for (const path of paths) {
      const [first, more] = path.slice(from).split("/", 2);
      if (more === undefined) list.append(make("li", {}, link(first, address(one, path), path === here && { "aria-current": "true" })));
      else folders.set(first, [...(folders.get(first) ?? []), path]);
    }
    for (const [folder, inside] of folders)
      list.append(make("li", {}, make("span", { class: "dim" }, `${folder}/`), tree(inside, from + folder.length + 1, here, one)));
    return list;
  }

  /** A text with the numbers of its lines; of YAML, keys and comments stand out. */
  function code(path, text) {
    const lines = text.replace(/\n$/, "").split("\n"), body = make("pre", { tabindex: 0, role: "region", "aria-label": path });
    if (!/\.ya?ml$/.test(path) || lines.length > 5000) body.append(visible(lines.join("\n")));
    else for (const line of lines) {
      const [, key, rest, note] = /^(\s*(?:- )?[\w./-]+:(?=\s|$))?(.*?)((?:^|\s)#.*)?$/s.exec(line);
      body.append(make("b", {}, key ?? ""), visible(rest), make("i", {}, note ?? ""), "\n");
    }
    return make("div", { class: "code" }, make("pre", { "aria-hidden": "true" }, lines.map((_, n) => n + 1).join("\n")), body);
  }

  async function drawRelease(view, one, wanted) {
    const files = await filesOf(one), paths = [...files.keys()];
    const path = wanted || ["values.yaml", "README.md", "manifest.yaml", "Chart.yaml"].find((each) => files.has(each)) || paths[0];
    const file = files.get(path), text = textOf(file), other = make("select", { "aria-label": "Another release" }, ...options(releases.filter((each) => each !== one)));
    const form = make("form", { class: "act" }, download(one), ...(releases.length > 1 ? ["Compare with", other, make("button", {}, "Compare")] : []));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      location.hash = `#/${other.value}...${called(one)}`;
    });
    view.append(
      make("h1", {}, `${short} ${one.release}`),
      dim(one.media_type, one.created_at?.slice(0, 10), bytes(one.blob.size), `sha256 ${one.blob.digest}`), form,
      make("div", { class: "split" },
        make("details", matchMedia("(min-width:50rem)").matches && { open: "" }, make("summary", {}, `${paths.length} files`), tree(paths, 0, path, one)),
        make("div", {}, make("h2", {}, file ? path : `This release has no file ${path}`), file ? dim(bytes(file.body.length)) : "", text === null ? noText() : code(path, text))),
    );
  }

  /** One file's difference, and how many lines came, went, and are drawn. */
  function drawDiff(path, before, after, room) {
    const a = textOf(before), b = textOf(after), isText = a !== null && b !== null, rows = isText ? diff.rows(a, b) : [];
    const count = (sign) => rows.filter((row) => row.sign === sign).length, plus = count("+"), minus = count("-");
    const folded = diff.fold(rows).slice(0, room), pre = make("pre", { class: "diff", tabindex: 0, role: "region", "aria-label": `Difference of ${path}` });
    for (const { sign, text, gap } of folded)
      pre.append(gap ? make("span", { class: "gap" }, `\u22ef ${gap} equal lines`)
        : make("span", { class: { "+": "add", "-": "del" }[sign] ?? "" }, `${sign} ${text.endsWith("\n") ? text.slice(0, -1) : `${text} \u27e8no line end\u27e9`}`));
    const what = !before ? "added" : after ? "changed" : "removed";
    const box = make("details", { open: "" }, make("summary", {}, `${path} `, make("span", { class: "dim" }, `${what} +${plus} \u2212${minus}`)), isText ? pre : noText());
    if (folded.length === room) box.append(dim("The rest is too long to be shown."));
    return [box, plus, minus, folded.length];
  }

  const isEqual = (a, b) => a && b && a.kind + a.target === b.kind + b.target && a.body.length === b.body.length && a.body.every((byte, n) => byte === b.body[n]);
  async function drawComparison(view, one, two) {
    const [a, b] = [await filesOf(one), await filesOf(two)], sum = [0, 0, 0];
    const paths = [...new Set([...a.keys(), ...b.keys()])].sort(), differ = paths.filter((path) => !isEqual(a.get(path), b.get(path)));
    const boxes = differ.map((path) => {
      const [box, ...counts] = drawDiff(path, a.get(path), b.get(path), ROWS_MAX - sum[2]);
      counts.forEach((count, n) => (sum[n] += count));
      return box;
    });
    view.append(
      make("h1", {}, `${short} ${called(one)} \u2192 ${called(two)}`),
      dim(`${differ.length} files differ`, `${paths.length - differ.length} are equal`, `+${sum[0]} \u2212${sum[1]} lines`),
      make("p", { class: "act" }, link(`Files of ${called(one)}`, address(one)), link(`Files of ${called(two)}`, address(two)), link("The other way round", `#/${called(two)}...${called(one)}`)),
      ...boxes,
    );
  }

  async function draw(box) {
    try {
      const [first, second] = location.hash.slice(2).split("...").map(decodeURIComponent), slash = `${first}/`.indexOf("/");
      if (second) {
        const two = named(second);
        await drawComparison(box, named(first, two), two);
      } else await drawRelease(box, named(first.slice(0, slash)), first.slice(slash + 1));
    } catch ({ path, message }) {
      box.replaceChildren(make("h1", {}, "This cannot be shown"), make("p", { class: "bad", role: "alert" }, `${path ?? ""} ${message}`));
    }
  }

  let turn = 0;
  /** Show what the address names: a release, a comparison, or the page itself. */
  async function route() {
    const view = find("#view"), mine = ++turn, isOpen = location.hash.startsWith("#/"), wasFiles = find(".split", view);
    if (isOpen) {
      const box = make("div", {}, make("p", { class: "path" }, link(`\u2190 ${name}`, "#")));
      if (!result.document) box.append(make("p", { class: "note" }, "Not checked here: these are the bytes that the host sent."));
      const inner = make("div");
      await draw(inner);
      if (mine !== turn) return;
      view.replaceChildren(box, inner);
    }
    const change = view.hidden === isOpen;
    view.hidden = !isOpen;
    find("#static").hidden = isOpen;
    if (!isOpen && !change) return;
    const target = isOpen ? find(wasFiles && find(".split", view) ? "h2" : "h1", view) : find(location.hash.slice(1) ? location.hash : "h1");
    target?.setAttribute("tabindex", -1);
    target?.focus({ preventScroll: isOpen });
    if (isOpen) scrollTo(0, 0);
    view.dataset.drawn = location.hash;
  }

  /** What of a package's page needs the script: links to releases, the form, the long list. */
  function wake() {
    const rows = all("#rows [data-blob]"), form = find("#compare"), more = find("#more button");
    releases = result.document?.releases ?? rows.map(fromRow);
    if ((isFile && !chosen) || !(result.document || ["cannot", "newer", "nothing"].includes(result.kind))) return;
    for (const row of rows) {
      const head = find("th", row).firstChild;
      head.replaceWith(link(head.textContent, address(fromRow(row))));
    }
    for (const each of all("[data-view]")) each.href = address(named(each.dataset.view));
    for (const each of all("a.script")) each.hidden = false;
    if (releases.length > 1) {
      for (const select of all("select", form)) select.replaceChildren(...options(releases));
      form.elements.old.selectedIndex = 1;
      form.hidden = false;
    }
    if (more && result.document) more.hidden = false;
    route();
  }
  function listMore({ target }) {
    const rows = all("#rows [data-blob]"), listed = rows.map(fromRow).map(called), cell = (child, tag = "td") => make(tag, tag === "th" ? { scope: "row" } : {}, child);
    rows.at(-1).after(...releases.filter((one) => !listed.includes(called(one))).map((one) => make("tr", {},
      cell(link(one.release, address(one)), "th"), cell(one.media_type), cell(one.created_at.slice(0, 10)), cell(bytes(one.blob.size)), cell(download(one)), cell(one.origin))));
    target.parentElement.remove();
    find("#rows").parentElement.parentElement.focus();
  }

  // ---- copying
  function copies(button) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const pre = button.previousElementSibling;
      try {
        await navigator.clipboard.writeText(pre.textContent);
      } catch {
        getSelection().selectAllChildren(pre); // pages on http://name have no clipboard of their own
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
      [...list.children].forEach((option, m) => option.setAttribute("aria-selected", m === n));
      input.setAttribute("aria-activedescendant", list.children[(at = n)]?.id ?? "");
      list.children[n]?.scrollIntoView({ block: "nearest" });
    };
    const show = (rows) => {
      list.replaceChildren(...rows.map((row, n) => make("li", { id: `hit-${n}`, role: "option", "data-href": new URL(`packages/${row.package}/index.html`, base) },
        `${row.package} `, make("span", { class: "dim" }, row.release), make("small", {}, row.description))));
      list.hidden = !rows.length;
      input.setAttribute("aria-expanded", !list.hidden);
      mark(-1);
    };
    const ask = async () => {
      const mine = ++asked, words = input.value.trim(), rows = words ? await api.search.find(words).catch(() => []) : [];
      if (mine !== asked) return;
      show(rows);
      find("#hits-count").textContent = words && `${rows.length} packages found`;
    };
    const open = (option) => option && (location.href = option.dataset.href);
    const keys = {
      ArrowDown: (n) => mark((at + 1) % n), ArrowUp: (n) => mark((at < 1 ? n : at) - 1), Enter: () => open(list.children[Math.max(at, 0)]),
      Escape: (n) => (n ? show([]) : (input.value = "")),
    };
    input.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      if (list.children.length || event.key === "Escape") keys[event.key](list.children.length);
    });
    input.addEventListener("input", ask);
    input.addEventListener("focus", ask);
    input.addEventListener("blur", () => show([]));
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => open(event.target.closest("li")));
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input,select")) return;
      event.preventDefault();
      input.focus();
    });
    form.hidden = false;
  }

  const chooser = find("#pick input");
  all("[data-copy]").forEach(copies);
  if (api.search) searching();
  if (name) addEventListener("hashchange", route);
  find("#compare")?.addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = `#/${event.target.elements.old.value}...${event.target.elements.new.value}`;
  });
  find("#more button")?.addEventListener("click", listMore);
  chooser.addEventListener("change", () => {
    chosen = filesBelow([...chooser.files]);
    check();
  });
  find("#pick").hidden = !isFile;
  check();
})();

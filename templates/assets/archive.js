// The files of a package archive, a gzipped tar, as the program's own reader has them. No DOM here.
"use strict";
(() => {
  const api = globalThis.cnrmirror;
  const BLOCK = 512, UNPACKED = 64 << 20, MEMBERS = 10000, TYPES = { 0: "file", 7: "file", 1: "hard link", 2: "symlink", 5: "directory" };
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const damaged = (why) => { throw new api.Problem("refused", `the archive cannot be read: ${why}`); };

  async function gunzip(data) {
    const parts = [];
    let size = 0;
    try {
      const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
      for (let step; !(step = await reader.read()).done; parts.push(step.value))
        if ((size += step.value.length) > UNPACKED) {
          reader.cancel();
          throw new api.Problem("cannot", "the archive unpacks to more than 64 MiB: download it");
        }
    } catch (error) {
      if (error instanceof api.Problem) throw error;
      damaged("it is not one whole gzip stream");
    }
    const out = new Uint8Array(size);
    for (let at = 0; parts.length; at += parts.shift().length) out.set(parts[0], at);
    return out;
  }

  const text = (field) => {
    const end = field.indexOf(0);
    try {
      return strict.decode(end < 0 ? field : field.subarray(0, end));
    } catch {
      return damaged("a name is not UTF-8");
    }
  };
  /** The number in a field: octal, or base 256 (GNU). */
  const number = (field) => (field[0] & 0x80
    ? field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0] & 0x7f)
    : parseInt(text(field).trim() || "0", 8));

  /** The records of a pax header that name a member or tell its size. */
  function paxRecords(body) {
    const found = {};
    for (let at = 0; at < body.length; ) {
      const space = body.indexOf(32, at), size = parseInt(text(body.subarray(at, space)), 10);
      if (space < 0 || !(size > space - at + 2) || at + size > body.length) damaged("a pax record is malformed");
      const equals = body.indexOf(61, space), key = text(body.subarray(space + 1, equals));
      if (["path", "linkpath", "size"].includes(key)) found[key] = text(body.subarray(equals + 1, at + size - 1));
      at += size;
    }
    return found;
  }

  /** Prefix and name; star keeps two times at the end of its prefix, GNU tar no prefix at all. */
  function headerName(block) {
    const name = text(block.subarray(0, 100));
    if (text(block.subarray(257, 265)) !== "ustar" || block[263] !== 48) return name;
    const star = block[475] === 0 && block[476] !== 0 && block[487] !== 0;
    const prefix = text(block.subarray(345, star ? 475 : 500));
    return prefix ? `${prefix}/${name}` : name;
  }

  /** The members of a tar: name, kind, target and content of each, in its order. */
  function untar(tar) {
    const members = [];
    let extra = {};
    for (let at = 0; at + BLOCK <= tar.length && tar[at]; ) {
      const block = tar.subarray(at, at + BLOCK), type = String.fromCharCode(block[156] || 48);
      const told = extra.size === undefined || "gLKx".includes(type) ? number(block.subarray(124, 136)) : Number(extra.size);
      const size = "12".includes(type) ? 0 : told, start = at + BLOCK;
      if (!Number.isSafeInteger(size) || size < 0 || start + size > tar.length) damaged("it is cut off");
      const body = tar.subarray(start, start + size);
      at = start + Math.ceil(size / BLOCK) * BLOCK;
      if (type === "x") Object.assign(extra, paxRecords(body));
      else if (type === "L") extra.path ??= text(body);
      else if (type === "K") extra.linkpath ??= text(body);
      else if (type !== "g") {
        if (members.length >= MEMBERS) damaged(`it has more than ${MEMBERS} members`);
        members.push(member(extra, block, type, body));
        extra = {};
      }
    }
    return members;
  }

  function member(extra, block, type, body) {
    const full = extra.path ?? headerName(block);
    const isFolder = !block[156] && extra.path === undefined && full.endsWith("/");
    const kind = isFolder ? "directory" : TYPES[type] ?? "special file";
    const name = full.split("/").filter((part) => part && part !== ".").join("/");
    const target = "12".includes(type) ? extra.linkpath ?? text(block.subarray(157, 257)) : "";
    return { name, kind, target, body };
  }

  /** What a person looks at: no folders; the one folder that all lies in is left out. */
  function shown(members) {
    const found = members.filter((one) => one.name && one.kind !== "directory");
    const top = `${found[0]?.name.split("/")[0]}/`;
    const cut = found.every((one) => one.name.startsWith(top)) ? top.length : 0;
    return new Map(found.map((one) => [one.name.slice(cut), one])
      .sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  api.archive = { unpack: async (data) => untar(await gunzip(data)), shown };
})();

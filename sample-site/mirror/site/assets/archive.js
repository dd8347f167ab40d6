// The files of a package archive, a gzipped tar, as the program's own reader has them. No DOM here.
"use strict";
(() => {
  const api = globalThis.cnrmirror;
  const BLOCK = 512, UNPACKED = 64 << 20, MEMBERS = 10000;
  const KINDS = { 0: "file", 7: "file", 1: "hard link", 2: "symlink", 5: "directory" };
  const refuse = (why) => { throw new api.Problem("refused", `the archive ${why}`); };

  async function gunzip(data) {
    const reader = new Blob([data]).stream().pipeThrough(new DecompressionStream("gzip")).getReader(), parts = [];
    let size = 0;
    for (let step; !(step = await reader.read()).done; parts.push(step.value))
      if ((size += step.value.length) > UNPACKED) {
        reader.cancel();
        refuse("is larger than 64 MiB: download it");
      }
    return new Uint8Array(await new Blob(parts).arrayBuffer());
  }

  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  /** The text in a field: up to a NUL. */
  const text = (field) => utf8.decode(field.subarray(0, (field.indexOf(0) + 1 || field.length + 1) - 1));
  /** The number in a field: octal, or base 256 (GNU). */
  const number = (field) => (field[0] & 128
    ? field.subarray(1).reduce((sum, byte) => sum * 256 + byte, field[0] & 127) : parseInt(text(field).trim() || 0, 8));

  /** The records of a pax header. */
  function paxRecords(body) {
    const found = {};
    for (let at = 0, end; at < body.length; at = end) {
      const space = body.indexOf(32, at), equals = body.indexOf(61, space);
      end = at + parseInt(text(body.subarray(at, space)), 10);
      if (!(end > equals && equals > 0)) refuse("has a pax record that is malformed");
      found[text(body.subarray(space + 1, equals))] = new TextDecoder().decode(body.subarray(equals + 1, end - 1));
    }
    return found;
  }

  /** Prefix and name. Star keeps two times at the end of its prefix; GNU tar has no prefix at all. */
  function nameIn(block) {
    const isStar = !block[475] && block[476] && block[487];
    const prefix = block[263] === 48 ? text(block.subarray(345, isStar ? 475 : 500)) : "";
    return (prefix && `${prefix}/`) + text(block.subarray(0, 100));
  }

  /** The members of a tar in its order: name, kind, target and body of each. */
  function untar(tar) {
    const members = [];
    let extra = {};
    for (let at = 0; at + BLOCK <= tar.length && tar[at]; ) {
      const block = tar.subarray(at, (at += BLOCK)), type = String.fromCharCode(block[156] || 48), isLink = "12".includes(type);
      const size = isLink ? 0 : Number(("gxLK".includes(type) ? 0 : extra.size) || number(block.subarray(124, 136)));
      if (!(size >= 0 && at + size <= tar.length)) refuse("is cut off");
      const body = tar.subarray(at, at + size);
      at += Math.ceil(size / BLOCK) * BLOCK;
      if (type === "x") Object.assign(extra, paxRecords(body));
      else if (type === "L") extra.path = text(body);
      else if (type === "K") extra.linkpath = text(body);
      else if (type !== "g") {
        const name = extra.path ?? nameIn(block), isFolder = !block[156] && name.endsWith("/");
        members.push({
          name: name.split("/").filter((part) => part && part !== ".").join("/"), body,
          kind: isFolder ? "directory" : KINDS[type] ?? "special file",
          target: isLink ? extra.linkpath ?? text(block.subarray(157, 257)) : "",
        });
        if (members.length > MEMBERS) refuse("has too many members");
        extra = {};
      }
    }
    return members;
  }

  /** What a person looks at, by path: no folders, and not the one folder that all lies in. */
  function shown(members) {
    const found = members.filter(({ name, kind }) => name && kind !== "directory");
    const top = `${found[0]?.name.split("/")[0]}/`, cut = found.every(({ name }) => name.startsWith(top)) ? top.length : 0;
    return new Map(found.map((one) => [one.name.slice(cut), one]).sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  api.archive = { unpack: async (data) => untar(await gunzip(data)), shown };
})();

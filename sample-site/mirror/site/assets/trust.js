// From a pinned root to a package's document, believing nothing (docs/format.md). No DOM here.
"use strict";
(() => {
  const api = (globalThis.cnrmirror ??= {});
  const META = "catalog/metadata/", NODES = "catalog/nodes/sha256/";
  const ROLE_MAX = 1 << 20, TIMESTAMP_MAX = 1 << 14, ROOT_MAX = 8 << 20, NODE_MAX = 64 << 20;
  const FORMAT = 1, SKEW = 600e3;

  /** What went wrong; kind is refused, missing, unavailable, cannot or newer. */
  class Problem extends Error {
    constructor(kind, reason, path = "") {
      super(reason);
      Object.assign(this, { kind, path });
    }
  }
  const refuse = (reason, path) => { throw new Problem("refused", reason, path); };
  const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);
  const encode = (text) => new TextEncoder().encode(text);
  const decode = (data) => JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data));
  const sha256 = async (data) => Array.from(
    new Uint8Array(await crypto.subtle.digest("SHA-256", data)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const unhex = (text) => Uint8Array.from(/^([0-9a-f]{2})*$/.test(text) ? text.match(/../g) : [], (two) => parseInt(two, 16));

  /** The bytes of a file whose size is at most max, and which has this digest, if one is given. */
  async function take(read, path, max, digest, size = max) {
    if (!(size >= 0 && size <= max)) refuse("is too long", path);
    const data = await read(path, size);
    if (data.length > size || (digest && (await sha256(data)) !== digest)) refuse("is not the file that was signed", path);
    return data;
  }

  /** Canonical JSON of TUF: in a string only \ and " are escaped. */
  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical)}]`;
    if (value && typeof value === "object")
      return `{${Object.keys(value).sort().map((key) => `${canonical(key)}:${canonical(value[key])}`)}}`;
    if (typeof value === "string") return `"${value.replace(/[\\"]/g, "\\$&")}"`;
    if (typeof value === "number" && !Number.isSafeInteger(value)) refuse("a number is no integer");
    return String(value);
  }

  /** The two halves of an ECDSA signature in DER, as WebCrypto wants them. */
  function fromDer(der) {
    const out = new Uint8Array(64);
    for (let at = 2, end = 32; end <= 64; end += 32) {
      const half = der.subarray(at + 2, (at += 2 + der[at + 1])).slice(-32);
      out.set(half, end - half.length);
    }
    return out;
  }

  /** Whether a key has signed; null where the browser, or this script, does not know its kind. */
  async function isSigned({ scheme, keyval }, signature, message) {
    const raw = scheme === "ed25519", how = raw ? { name: "Ed25519" } : { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
    if (!raw && scheme !== "ecdsa-sha2-nistp256") return null;
    try {
      const key = raw ? unhex(keyval.public)
        : Uint8Array.from(atob(keyval.public.replace(/-----[^-]*-----|\s/g, "")), (char) => char.charCodeAt(0));
      const imported = await crypto.subtle.importKey(raw ? "raw" : "spki", key, how, false, ["verify"]);
      return await crypto.subtle.verify(how, imported, raw ? signature : fromDer(signature), message);
    } catch (error) {
      return error.name === "NotSupportedError" ? null : false;
    }
  }

  /** The signed part of a role's file, signed by enough distinct keys, of this type and version. */
  async function signedPart(file, path, type, keys, role, version) {
    const { signed } = file, message = encode(canonical(signed)), good = new Set();
    let unknown = false;
    for (const { keyid, sig } of file.signatures.slice(0, 64)) {
      const key = role.keyids.includes(keyid) && own(keys, keyid);
      if (!key || good.has(key.keyval.public)) continue;
      const found = await isSigned(key, unhex(sig), message);
      if (found) good.add(key.keyval.public);
      unknown ||= found === null;
    }
    if (!(role.threshold > 0 && good.size >= role.threshold)) {
      if (unknown) throw new Problem("cannot", "has signatures of a kind that this browser does not know", path);
      refuse("is not signed by enough of the keys that count", path);
    }
    if (signed._type !== type) refuse("is the file of another role", path);
    if (version && signed.version !== version) refuse("is of another version", path);
    return signed;
  }

  /** The newest root: the pinned one, and each next one signed by the old keys and the new. */
  async function newestRoot(read, pin, newest) {
    const pathOf = (version) => `${META}${version}.root.json`;
    const first = decode(await take(read, pathOf(pin.version), ROLE_MAX, pin.sha256));
    let root = await signedPart(first, pathOf(pin.version), "root", first.signed.keys, first.signed.roles.root, pin.version);
    while (root.version < newest) {
      const version = root.version + 1, path = pathOf(version), file = decode(await take(read, path, ROLE_MAX));
      for (const { keys, roles } of [root, file.signed]) await signedPart(file, path, "root", keys, roles.root, version);
      root = file.signed;
    }
    return root;
  }

  /** The file of a role that another one names, not yet looked at. */
  function named(read, { meta }, name) {
    const { version, length, hashes } = meta[`${name}.json`], path = `${META}${version}.${name}.json`;
    const data = take(read, path, ROLE_MAX, hashes.sha256, length);
    data.catch(() => 0);
    return async (type, keys, role) => signedPart(decode(await data), path, type, keys, role, version);
  }

  /** All signed roles: root, timestamp, snapshot, targets, catalog. */
  async function readRoles(read, pin) {
    const path = `${META}timestamp.json`, early = decode(await take(read, path, TIMESTAMP_MAX));
    // How many roots there are is read before it is believed, so that nobody has to ask for one
    // that is not there; once the timestamp is known to be signed, it must have been so.
    const root = await newestRoot(read, pin, early.signed["x-kept"]?.root), { keys, roles } = root;
    const timestamp = await signedPart(early, path, "timestamp", keys, roles.timestamp);
    if (timestamp["x-kept"].root > root.version) throw new Problem("missing", "the newest root is held back", path);
    const snapshot = await named(read, timestamp, "snapshot")("snapshot", keys, roles.snapshot);
    const [inTargets, inCatalog] = ["targets", "catalog"].map((name) => named(read, snapshot, name));
    const targets = await inTargets("targets", keys, roles.targets), { delegations } = targets;
    const role = delegations.roles.find((one) => one.name === "catalog" && one.paths.includes("catalog.json"));
    return { root, timestamp, snapshot, targets, catalog: await inCatalog("targets", delegations.keys, role), publish: role.keyids };
  }

  /** The catalog root that the roles name, and its digest. */
  async function readCatalog(read, { root, catalog }) {
    const { length, hashes, custom } = catalog.targets["catalog.json"], path = `catalog/targets/${hashes.sha256}.catalog.json`;
    const top = decode(await take(read, path, ROOT_MAX, hashes.sha256, length));
    if (top.format?.read > FORMAT) throw new Problem("newer", `is of format ${top.format.read}`, path);
    if (top.kind !== "catalog" || top.registry !== root["x-registry"] || top.revision !== custom.revision)
      refuse("is of another registry or revision", path);
    return [top, hashes.sha256];
  }

  /** The document of a package: down the Merkle tree, by the digits of its name's digest. */
  async function readDocument(read, { tree }, name) {
    const digits = await sha256(encode(name));
    const below = async ({ digest, size }) => decode(await take(read, `${NODES}${digest.slice(0, 2)}/${digest}`, NODE_MAX, digest, size));
    let node = tree, depth = 0;
    while (node.kind === "branch" && own(node.children, digits[depth])) {
      node = await below(node.children[digits[depth++]]);
      if (node.prefix !== digits.slice(0, depth)) refuse("a part of the catalog is in another’s place");
    }
    const ref = node.packages?.find((one) => one.name === name);
    if (!ref) refuse(`the signed catalog has no ${name}`);
    const document = await below(ref);
    if (document.kind !== "package" || document.package !== name) refuse("it is another package’s document");
    return document;
  }

  /** Refuse what is older than what this browser saw, but for what a new root makes void. */
  function checkMemory(old, now) {
    const renewed = (keys) => now.root > old.root && String(old[keys]) !== String(now[keys]);
    const isVoid = { timestamp: renewed("refresh"), revision: renewed("publish") };
    for (const what of ["root", "timestamp", "revision"])
      if (!isVoid[what] && now[what] < old[what]) refuse(`${what} ${now[what]} is older than ${old[what]}, which this browser saw`);
    if (!isVoid.revision && now.revision === old.revision && now.digest !== old.digest) refuse("there are two revisions of one number");
  }

  async function chain({ read, pin, name, now, memory }) {
    if (!pin) return { kind: "nothing", reason: "this mirror’s pages name no root" };
    if (!globalThis.crypto?.subtle) throw new Problem("cannot", "browsers give pages their cryptography by https and on localhost only");
    const { publish, ...roles } = await readRoles(read, pin), [top, digest] = await readCatalog(read, roles);
    const { root, timestamp } = roles, { registry, revision } = top;
    const mark = { root: root.version, timestamp: timestamp.version, revision, digest, refresh: [...root.roles.timestamp.keyids].sort(), publish: [...publish].sort() };
    const old = memory?.get(registry);
    if (old) checkMemory(old, mark);
    const document = name ? await readDocument(read, top, name) : null;
    const [until, first] = Object.keys(roles).map((role) => [Date.parse(roles[role].expires) || 0, role]).sort(([a], [b]) => a - b)[0];
    const late = !(now < until) ? `the ${first} was good until ${roles[first].expires}`
      : !(Date.parse(`${top.time}Z`) <= now + SKEW) ? `it is of ${top.time}: is this clock behind?` : "";
    if (!late) memory?.set(registry, mark);
    return { kind: late ? "expired" : "good", reason: late, revision, registry, until, document };
  }

  /**
   * What is signed of a mirror, and of a package in it.
   *
   * @param options read(path, max): promises a file's bytes, at most max + 1 of them; it rejects
   *   with a Problem. pin: version and sha256 of the root, or null. name: a package, or "". now: the
   *   clock in ms. memory: get(registry) and set(registry, mark): what was seen.
   * @returns kind "good" or "expired" with revision, registry, until and document; or another kind
   *   with reason and path.
   */
  api.verify = async (options) => {
    try {
      return await chain({ now: Date.now(), name: "", ...options });
    } catch (error) {
      return { kind: error.kind ?? "refused", reason: error.kind ? error.message : `it cannot be read: ${error.message}`, path: error.path ?? "" };
    }
  };
  Object.assign(api, { Problem, take });
})();

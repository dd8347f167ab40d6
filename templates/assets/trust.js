// From a pinned root to a package's document, believing nothing (docs/format.md). No DOM here.
"use strict";
(() => {
  const api = (globalThis.cnrmirror ??= {});
  const META = "catalog/metadata/", ROLE_MAX = 1 << 20, ROOT_MAX = 8 << 20, NODE_MAX = 64 << 20;
  const READS = 1, SKEW = 600e3, MAX_ROOTS = 64;
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const bytes = (text) => new TextEncoder().encode(text);

  /** What went wrong: kind is refused, missing, unavailable, cannot or newer. */
  class Problem extends Error {
    constructor(kind, reason, path = "") {
      super(reason);
      Object.assign(this, { kind, reason, path });
    }
  }
  const refuse = (reason, path) => { throw new Problem("refused", reason, path); };
  const own = (object, key) => (Object.hasOwn(object, key) ? object[key] : undefined);

  const subtle = () => {
    const found = globalThis.crypto?.subtle;
    if (!found) throw new Problem("cannot", "browsers give pages their cryptography by https and on localhost only");
    return found;
  };
  const sha256 = async (data) => Array.from(
    new Uint8Array(await subtle().digest("SHA-256", data)), (b) => b.toString(16).padStart(2, "0")).join("");
  const unhex = (text) => {
    if (!/^([0-9a-f]{2})+$/.test(text)) refuse("a signature or key is not in hex");
    return Uint8Array.from(text.match(/../g), (pair) => parseInt(pair, 16));
  };

  /** The bytes of a file whose size and digest are known. */
  async function fetchNamed(read, path, size, digest, max) {
    if (!Number.isSafeInteger(size) || size < 0 || size > max) refuse("its length is not acceptable", path);
    const data = await read(path, size);
    if (data.length !== size) refuse(`has ${data.length > size ? "more" : "fewer"} bytes than were signed`, path);
    if ((await sha256(data)) !== digest) refuse("is not the file that was signed", path);
    return data;
  }

  const parse = (data, path) => {
    try {
      return JSON.parse(utf8.decode(data));
    } catch {
      return refuse("is not JSON", path);
    }
  };

  /** Canonical JSON of TUF: in a string only \ and " are escaped. */
  function canonical(value) {
    if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
    if (value && typeof value === "object")
      return `{${Object.keys(value).sort().map((k) => `${canonical(k)}:${canonical(value[k])}`).join()}}`;
    if (typeof value === "string") return `"${value.replace(/[\\"]/g, "\\$&")}"`;
    if (typeof value === "number" && !Number.isSafeInteger(value)) refuse("a number is no integer");
    return String(value);
  }

  const SCHEMES = {
    "ed25519": { name: "Ed25519" },
    "ecdsa-sha2-nistp256": { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256", half: 32 },
    "ecdsa-sha2-nistp384": { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384", half: 48 },
    "rsassa-pss-sha256": { name: "RSA-PSS", hash: "SHA-256", saltLength: 32 },
    "rsa-pkcs1v15-sha256": { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" },
  };
  const pem = (text) => Uint8Array.from(atob(text.replace(/-----[^-]*-----|\s/g, "")), (c) => c.charCodeAt(0));

  /** The two halves of an ECDSA signature in DER, as WebCrypto wants them. */
  function fromDer(der, half) {
    const out = new Uint8Array(2 * half);
    for (let at = 2, n = 1; n < 3; n++) {
      const number = der.subarray(at + 2, (at += 2 + der[at + 1]));
      const tail = number.subarray(Math.max(0, number.length - half));
      out.set(tail, n * half - tail.length);
    }
    return out;
  }

  /** Whether a key has signed; null where the browser does not know its kind. */
  async function isSigned(key, signature, message) {
    const how = own(SCHEMES, key.scheme);
    if (!how) return null;
    const [form, raw] = how.name === "Ed25519" ? ["raw", unhex(key.keyval.public)] : ["spki", pem(key.keyval.public)];
    try {
      const imported = await subtle().importKey(form, raw, how, false, ["verify"]);
      return await subtle().verify(how, imported, how.half ? fromDer(signature, how.half) : signature, message);
    } catch (error) {
      if (error.name === "NotSupportedError") return null;
      if (error instanceof Problem) throw error;
      return false;
    }
  }

  /** Check that enough distinct keys of a role have signed a file. */
  async function checkSigned(file, keys, role, path) {
    const message = bytes(canonical(file.signed)), good = new Set();
    let unknown = false;
    for (const { keyid, sig } of file.signatures.slice(0, 64)) {
      const key = role.keyids.includes(keyid) && own(keys, keyid);
      if (!key || good.has(key.keyval.public)) continue;
      const signed = await isSigned(key, unhex(sig), message);
      if (signed) good.add(key.keyval.public);
      unknown ||= signed === null;
    }
    if (Number.isSafeInteger(role.threshold) && role.threshold > 0 && good.size >= role.threshold) return;
    if (unknown) throw new Problem("cannot", "this browser does not know the kind of the publisher’s signatures", path);
    refuse("is not signed by enough of the keys that count", path);
  }

  /** The signed part of a role's file, if it is of this type and, where it is known, version. */
  function signedPart(file, type, version, path) {
    const { signed } = file;
    if (signed._type !== type) refuse("is the file of another role", path);
    if (!Number.isSafeInteger(signed.version) || signed.version < 1) refuse("has no proper version", path);
    if (version !== undefined && signed.version !== version) refuse(`is of version ${signed.version}, not ${version}`, path);
    if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(signed.expires)) refuse("says no time of expiry", path);
    if (!/^1\./.test(signed.spec_version)) throw new Problem("newer", "is of a newer format", path);
    return signed;
  }

  /** The newest root: the pinned one, and each next one signed by the old and the new keys. */
  async function newestRoot(read, pin, claimed) {
    let path = `${META}${pin.version}.root.json`;
    const data = await read(path, ROLE_MAX);
    if ((await sha256(data)) !== pin.sha256) refuse("is not the root that this page names", path);
    let file = parse(data, path), root = signedPart(file, "root", pin.version, path);
    await checkSigned(file, root.keys, root.roles.root, path);
    if (claimed - root.version > MAX_ROOTS) throw new Problem("newer", "this page’s root is too old", path);
    while (root.version < claimed) {
      path = `${META}${root.version + 1}.root.json`;
      file = parse(bounded(await read(path, ROLE_MAX), ROLE_MAX, path), path);
      const next = signedPart(file, "root", root.version + 1, path);
      await checkSigned(file, root.keys, root.roles.root, path);
      await checkSigned(file, next.keys, next.roles.root, path);
      root = next;
    }
    return root;
  }

  const bounded = (data, max, path) => (data.length > max ? refuse("is too long", path) : data);

  /** The file of a role that another one names: length, digest, signatures, type, version. */
  async function lower(read, name, meta, keys, role) {
    const info = own(meta, `${name}.json`), path = `${META}${info?.version}.${name}.json`;
    const data = await fetchNamed(read, path, info.length, info.hashes.sha256, ROLE_MAX), file = parse(data, path);
    await checkSigned(file, keys, role, path);
    return signedPart(file, name === "snapshot" ? name : "targets", info.version, path);
  }

  /** Targets and catalog, at once: the snapshot names both. The first thing wrong is told. */
  async function delegated(read, snapshot, root) {
    const info = snapshot.meta["catalog.json"], path = `${META}${info.version}.catalog.json`;
    const early = fetchNamed(read, path, info.length, info.hashes.sha256, ROLE_MAX);
    early.catch(() => 0);
    const targets = await lower(read, "targets", snapshot.meta, root.keys, root.roles.targets);
    const role = targets.delegations.roles.find((r) => r.name === "catalog" && r.paths?.includes("catalog.json"));
    if (!role) refuse("delegate the catalog to nobody", `${META}${targets.version}.targets.json`);
    const catalog = await lower(() => early, "catalog", snapshot.meta, targets.delegations.keys, role);
    return { targets, catalog, catalogKeys: role.keyids };
  }

  /** All signed roles, and what they say together. */
  async function readRoles(read, pin) {
    const path = `${META}timestamp.json`, first = read(path, 16384);
    first.catch(() => 0);
    // The timestamp is read before it is believed: it tells how many roots there are, which is
    // checked below; so nobody has to ask for a root that is not there.
    const early = parse(bounded(await first, 16384, path), path);
    const root = await newestRoot(read, pin, Number(early.signed["x-kept"]?.root) || 0);
    await checkSigned(early, root.keys, root.roles.timestamp, path);
    const timestamp = signedPart(early, "timestamp", undefined, path);
    const newest = timestamp["x-kept"]?.root ?? 1;
    if (newest > root.version) throw new Problem("missing", `root ${newest} exists, but is held back`, path);
    const snapshot = await lower(read, "snapshot", timestamp.meta, root.keys, root.roles.snapshot);
    return { root, timestamp, snapshot, ...(await delegated(read, snapshot, root)) };
  }

  /** The catalog root that the roles name. */
  async function readCatalog(read, roles) {
    const target = roles.catalog.targets["catalog.json"], digest = target.hashes.sha256;
    const path = `catalog/targets/${digest}.catalog.json`;
    const top = parse(await fetchNamed(read, path, target.length, digest, ROOT_MAX), path);
    if ((top.format?.read ?? 1) > READS) throw new Problem("newer", `is of format ${top.format.read}; this page knows ${READS}`, path);
    if (top.kind !== "catalog") refuse("is no catalog root", path);
    if (top.registry !== roles.root["x-registry"]) refuse("is of another registry", path);
    if (top.revision !== target.custom?.revision) refuse("is of another revision", path);
    return { top, digest };
  }

  /** The document of a package: down the Merkle tree, by the digits of its name's digest. */
  async function readDocument(read, top, name) {
    const digits = await sha256(bytes(name));
    let node = top.tree, path = "";
    const below = async (ref) => {
      path = `catalog/nodes/sha256/${ref.digest.slice(0, 2)}/${ref.digest}`;
      return parse(await fetchNamed(read, path, ref.size, ref.digest, NODE_MAX), path);
    };
    if (node.prefix !== "") refuse("its tree does not begin at the top");
    for (let depth = 0; node.kind === "branch"; ) {
      const child = own(node.children, digits[depth++]);
      if (!child) refuse(`${name} is not in the signed catalog`);
      node = await below(child);
      if (node.prefix !== digits.slice(0, depth)) refuse("is another node of the tree", path);
    }
    const ref = node.kind === "leaf" && node.packages.find((one) => one.name === name);
    if (!ref) refuse(`${name} is not in the signed catalog`);
    const document = await below(ref);
    if (document.kind !== "package" || document.package !== name) refuse("is another package’s document", path);
    return document;
  }

  const same = (a, b) => String(a) === String(b);

  /** Refuse what is older than what this reader saw, but for what a new root makes void. */
  function checkMemory(old, now) {
    if (!old) return;
    const seen = (what, a, b) => refuse(`${what} ${a} is older than ${b}, which this browser saw already`);
    if (now.root < old.root) seen("root", now.root, old.root);
    const newer = now.root > old.root;
    if (!(newer && !same(old.timestampKeys, now.timestampKeys)) && now.timestamp < old.timestamp)
      seen("timestamp", now.timestamp, old.timestamp);
    if (newer && !same(old.catalogKeys, now.catalogKeys)) return;
    if (now.revision < old.revision) seen("revision", now.revision, old.revision);
    if (now.revision === old.revision && now.digest !== old.digest)
      refuse(`there are two different revisions ${now.revision}`);
  }

  /** What is out of date, as a sentence; "" if nothing is. */
  function expiredPart(roles, top, now) {
    const late = ["root", "timestamp", "snapshot", "targets", "catalog"].find((n) => !(Date.parse(roles[n].expires) > now));
    if (late) return `the signature of the ${late} expired on ${roles[late].expires}`;
    const made = Date.parse(`${top.time}Z`);
    if (!(made <= now + SKEW)) return `the catalog is of ${top.time}, which this clock has in the future`;
    return "";
  }

  async function chain({ read, pin, name, now, memory }) {
    if (!pin) return { kind: "nothing", reason: "this mirror’s pages name no root" };
    subtle();
    const roles = await readRoles(read, pin), { top, digest } = await readCatalog(read, roles);
    const mark = {
      root: roles.root.version, timestamp: roles.timestamp.version, revision: top.revision, digest,
      timestampKeys: [...roles.root.roles.timestamp.keyids].sort(), catalogKeys: [...roles.catalogKeys].sort(),
    };
    checkMemory(memory?.get(top.registry), mark);
    const late = expiredPart(roles, top, now);
    const document = name ? await readDocument(read, top, name) : null;
    if (!late) memory?.set(top.registry, mark);
    const until = Math.min(...["root", "timestamp", "snapshot", "targets", "catalog"].map((n) => Date.parse(roles[n].expires)));
    return { kind: late ? "expired" : "good", reason: late, revision: top.revision, registry: top.registry, until, document };
  }

  /**
   * What is signed of a mirror, and of a package in it.
   *
   * @param options read(path, max): a promise of a file's bytes, cut at max + 1 of them; it rejects
   *   with a Problem. pin: version and sha256 of the root, or null. name: a package, or "". now: the
   *   clock in ms. memory: get and set of what was seen of a registry.
   * @returns kind "good" or "expired" with revision, registry, until and document; or another kind
   *   with reason and path.
   */
  api.verify = async (options) => {
    try {
      return await chain({ now: Date.now(), name: "", ...options });
    } catch (error) {
      if (error instanceof Problem) return { kind: error.kind, reason: error.reason, path: error.path };
      return { kind: "refused", reason: `the metadata cannot be read: ${error.message}`, path: "" };
    }
  };
  Object.assign(api, { Problem, fetchNamed });
})();

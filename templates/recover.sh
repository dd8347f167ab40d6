#!/usr/bin/env bash
# recover.sh: list, verify and recover the packages of a cnrmirror site or bundle.
#
# It needs bash 4.4, GNU coreutils, tar with gzip, jq 1.6 and openssl 3; no Python, no network, no
# cnrmirror. The formats that it reads are described in docs/format.md of cnrmirror.
#
# The host is the adversary: nothing is believed because of where it lies. From the pinned root.json
# every file is checked before it is read (the length first, then the sha256), so a file that was
# changed, swapped, lengthened or left out is refused, and named. A copy of this script that comes
# from the same host proves nothing: compare it with the one in cnrmirror's repository.
set -euo pipefail
export LC_ALL=C

usage() {
  cat <<'USAGE'
usage: bash recover.sh list    --root root.json [OPTION...] [FOLDER...]
       bash recover.sh verify  --root root.json [OPTION...] [FOLDER...]
       bash recover.sh recover --root root.json [OPTION...] DIR [FOLDER...]

FOLDER is a site (it has catalog/), or holds a bundle or some of its volumes. Without FOLDER it is
the folder of this script. A bundle that continues from another needs that folder, too.

  list     prints package, release, media type, size and sha256 of each archive
  verify   checks every file that the current revision names, and the catalog roots before it
  recover  checks the same, and writes DIR/NAMESPACE/NAME/NAME-RELEASE.MEDIATYPE.tar.gz,
           ….attachments/SHA256 and package.json; DIR must be new or empty

  --root FILE        the publisher's root file, which came another way than the packages
  --without-root     take the folder's own word for its root: finds damage, not forgery
  --expect RECEIPT   the receipt that came with the bundle (the line, a file, or the catalog's
                     digest): nothing older or newer is accepted
  --at TIME          check the expiry as of a time (UTC, as 2026-01-31T12:00:00), not of the clock
  --ignore-expiry    accept expired signatures
  --diff-ids         unpack each archive, too, and check its CNR digest
  --partial          the bundle is a part: list what is not in it, and go on

exit codes: 0 good; 2 usage; 3 DIR is not empty; 6 damaged volume; 9 tampered; 10 expired;
            11 a file is missing; 13 done, but not fresh; 17 a newer script is needed
USAGE
}

# The reader version that this script has: it reads what asks for no more (docs/format.md).
readonly KNOWS=1
# No file is read that is longer: bytes.
readonly MAX_TIMESTAMP=16384 MAX_ROLE=1048576 MAX_CATALOG=8388608 MAX_NODE=67108864
readonly MAX_CONTENTS=16777216 MAX_INDEX=67108864
# No archive unpacks to more, for its CNR digest.
readonly MAX_UNPACKED=8589934592
readonly META=catalog/metadata
# SubjectPublicKeyInfo of an ed25519 key (RFC 8410) is these bytes, and the 32 bytes of the key.
readonly ED25519_SPKI=302a300506032b6570032100

say() { printf 'recover.sh: %s\n' "$*" >&2; }

# refuse CODE MESSAGE: nothing after this is done.
refuse() {
  say "${*:2}"
  REFUSED=1
  exit "$1"
}

# ---------------------------------------------------------------- JSON, checked as it is read

# Functions for all programs below. "\\A" and "\\z": jq's "$" lets a line feed pass at the end.
# A number that is not a whole one below 2^53 must never reach the shell's arithmetic.
# shellcheck disable=SC2016  # $… in these programs are jq's
readonly PRELUDE='
  def must(f; what): if (try f catch false) then . else error("no proper " + what) end;
  def int: must(type == "number" and . == floor and . >= 0 and . < 9007199254740992; "number");
  def hex: must(test("\\A[0-9a-f]{64}\\z"); "digest");
  def time: must(test("\\A\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\dZ\\z"); "time");
  def part: must(test("\\A[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?\\z")
                 and (contains("..") | not); "name");
  def package: must((split("/") | length) == 2; "package name")
               | split("/") | map(part) | join("/");
  def moment: must(test("\\A\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d{1,6})?\\z"); "time");
  def release: must(test("\\A[0-9A-Za-z][0-9A-Za-z.+-]{0,127}\\z")
                    and (contains("..") | not); "release");
  def media: must(test("\\A[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?\\z"); "media type");
  def plain: must(test("\\A[!-~]{1,200}\\z"); "text");
  def meta: [(.version | int), (.length | int), (.hashes.sha256 | hex)];

  # What a signature covers: the canonical JSON of TUF (OLPC). Keys sorted, no white space, only
  # \ and " are escaped, every other character stands as it is, a line feed too. jq -cS would
  # escape line feeds, which the PEM of an ECDSA or RSA key has.
  def quoted: "\"" + (split("\\") | join("\\\\") | split("\"") | join("\\\"")) + "\"";
  def canonical:
    if type == "object" then
      "{" + ([keys[] as $k | ($k | quoted) + ":" + (.[$k] | canonical)] | join(",")) + "}"
    elif type == "array" then "[" + (map(canonical) | join(",")) + "]"
    elif type == "string" then quoted
    elif type == "number" then int | tostring
    else tojson end;

  # The one form of a role file: compact, sorted, printable ASCII, escaped as JSON does.
  def form:
    if type == "object" then
      "{" + ([keys[] as $k | ($k | tojson) + ":" + (.[$k] | form)] | join(",")) + "}"
    elif type == "array" then "[" + (map(form) | join(",")) + "]"
    elif type == "string" then must(test("\\A[ -~\\n]*\\z"); "text") | tojson
    else canonical end;
'

# ask WHERE PROGRAM ARGUMENT...: what a jq program says of a file; refused if it raises an error.
# Only as a command, or in x=$(ask …): inside [[ … ]], <<< or <( … ) an error would go unseen.
ask() {
  local where=$1 program=$2
  shift 2
  if ! jq -r "$PRELUDE $program" "$@" 2>"$WORK/jq-error" </dev/null; then
    refuse 9 "$where: not what it must be ($(head -c 200 "$WORK/jq-error" | tr -c '[:print:]' ' '))"
  fi
}

digest_of() {
  local line
  line=$(sha256sum <"$1")
  printf '%s' "${line%% *}"
}

# ---------------------------------------------------------------- where bytes come from

FOLDERS=()
declare -A SLICES=() # path in the bundle → offset, size and volume
FILE='' OFFSET=0 SIZE=0 NODE=''

# locate PATH: sets FILE, OFFSET and SIZE (-1: as long as the file is); fails if no folder and no
# volume has it.
locate() {
  local folder slice=${SLICES[$1]:-}
  if [[ -n $slice ]]; then
    OFFSET=${slice%% *} slice=${slice#* }
    SIZE=${slice%% *} FILE=${slice#* }
    return 0
  fi
  for folder in "${FOLDERS[@]}"; do
    [[ -e $folder/$1 || -L $folder/$1 ]] || continue
    FILE=$folder/$1 OFFSET=0 SIZE=-1
    # A pipe or a device would never end, a link may lead to one.
    [[ -f $FILE && ! -L $FILE ]] || refuse 9 "$FILE: not a plain file"
    return 0
  done
  return 1
}

find_file() { locate "$1" || refuse 11 "$1: missing"; }

# located MAX: the bytes of what was located, never more than MAX.
located() {
  local count=$1
  ((SIZE < 0 || SIZE >= count)) || count=$SIZE
  dd if="$FILE" bs=1M iflag=skip_bytes,count_bytes skip="$OFFSET" count="$count" status=none
}

length_of() { stat -c %s -- "$1"; }

# take PATH DIGEST SIZE COPY: a checked copy; only the copy is read from then on. One byte more is
# copied than was signed, so that a longer file is seen to be that.
take() {
  find_file "$1"
  located $(($3 + 1)) >"$4"
  [[ $(length_of "$4") == "$3" ]] || refuse 9 "$1: not as long as signed ($3 bytes)"
  [[ $(digest_of "$4") == "$2" ]] || refuse 9 "$1: not the bytes that were signed"
}

# take_unnamed PATH MAX COPY: a file that no other file names with its digest, at most MAX bytes.
take_unnamed() {
  find_file "$1"
  located $(($2 + 1)) >"$3"
  (($(length_of "$3") <= $2)) || refuse 9 "$1: longer than $2 bytes"
}

# check_blob PATH DIGEST SIZE: without a copy.
check_blob() {
  local line
  find_file "$1"
  ((SIZE >= 0)) || SIZE=$(length_of "$FILE")
  ((SIZE == $3)) || refuse 9 "$1: not as long as signed ($3 bytes)"
  line=$(located "$3" | sha256sum)
  [[ ${line%% *} == "$2" ]] || refuse 9 "$1: not the bytes that were signed"
}

node_path() { NODE=catalog/nodes/sha256/${1:0:2}/$1; }

# ---------------------------------------------------------------- bundles

# padded SIZE: tar fills each file to whole blocks.
padded() { printf '%s' $((($1 + 511) / 512 * 512)); }

# open_bundle FILE: read bundle.json; every volume is checked for damage before its index is read.
# What is in bundle.json is not signed, and is only believed to find damage.
open_bundle() {
  local version name size index files digest folder found
  BUNDLES=$((BUNDLES + 1))
  (($(length_of "$1") <= MAX_CONTENTS)) || refuse 9 "$1: too long"
  version=$(ask "$1" '.format | if type == "object" then .read else . end | int' "$1")
  ((version <= KNOWS)) || refuse 17 "$1: this bundle needs a newer script (it asks for $version)"
  ask "$1" '.volumes[] | [(.name | must(test("\\Avolume-\\d{3,9}\\.tar\\z"); "volume name")),
    (.size | int), (.index | int), (.files | int), (.digest | hex)] | @tsv' "$1" >"$WORK/volumes"
  while IFS=$'\t' read -r name size index files digest; do
    found=''
    for folder in "${FOLDERS[@]}"; do
      # Of several copies, one that was cut off on the way is of no use.
      if [[ -f $folder/$name && (-z $found || $(length_of "$found") != "$size") ]]; then
        found=$folder/$name
      fi
    done
    if [[ -z $found ]]; then
      say "$name: this volume is missing"
      continue
    fi
    [[ $(length_of "$found") == "$size" ]] ||
      refuse 6 "$found: damaged: not $size bytes long; get another copy of this volume"
    [[ $(digest_of "$found") == "$digest" ]] ||
      refuse 6 "$found: damaged: its sha256 is another; get another copy of this volume"
    read_index "$found" "$size" "$index" "$files"
  done <"$WORK/volumes"
}

# read_index VOLUME SIZE INDEX FILES: where each file lies. No tar header is believed; only the one
# layout that a volume can have is read: file behind file, each after a header of one block.
read_index() {
  local path offset size position count=0 bad="$1: its index cannot be used"
  (($3 <= MAX_INDEX)) || refuse 6 "$bad: it is too long"
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip=512 count="$3" status=none >"$WORK/index"
  ask "$1" '.files[] | [(.path | must(test("\\A[A-Za-z0-9._/-]+\\z"); "path")), (.offset | int),
    (.size | int)] | @tsv' "$WORK/index" >"$WORK/entries"
  position=$((512 + $(padded "$3")))
  while IFS=$'\t' read -r path offset size; do
    ((offset == position + 512)) || refuse 6 "$bad: $path does not stand behind the file before it"
    case /$path/ in */../* | */./* | *//*) refuse 6 "$bad: the path $path" ;; esac
    [[ -z ${SLICES[$path]:-} ]] || ((BUNDLES > 1)) || refuse 6 "$bad: $path is in this bundle twice"
    SLICES[$path]="$offset $size $1"
    position=$((offset + (size + 511) / 512 * 512))
    count=$((count + 1))
  done <"$WORK/entries"
  ((position + 1024 == $2 && count == $4)) || refuse 6 "$bad: it does not fit bundle.json"
}

# ---------------------------------------------------------------- signatures

# binary HEX: the bytes.
binary() {
  local at escaped=''
  for ((at = 0; at < ${#1}; at += 2)); do escaped+="\\x${1:at:2}"; done
  printf '%b' "$escaped"
}

# verifies SCHEME KEY: whether WORK/signature is of WORK/signed. KEY: 64 hex digits, or a PEM file.
verifies() {
  local digest
  case $1 in
    ed25519)
      binary "$ED25519_SPKI$2" >"$WORK/key.der"
      openssl pkeyutl -verify -pubin -keyform DER -inkey "$WORK/key.der" -rawin \
        -in "$WORK/signed" -sigfile "$WORK/signature" >/dev/null 2>&1
      ;;
    # Keys in a KMS or an HSM may be of these kinds.
    ecdsa-sha2-nistp256 | ecdsa-sha2-nistp384 | rsa-pkcs1v15-sha256)
      digest=-sha256
      [[ $1 != *384 ]] || digest=-sha384
      openssl dgst "$digest" -verify "$2" -signature "$WORK/signature" "$WORK/signed" \
        >/dev/null 2>&1
      ;;
    rsassa-pss-sha256)
      openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:auto \
        -verify "$2" -signature "$WORK/signature" "$WORK/signed" >/dev/null 2>&1
      ;;
    *) return 1 ;;
  esac
}

# check_role FILE WHERE TYPE SUPERIOR ROLE: make sure that a file is a role's, in its one form (so
# that nothing unsigned hides in it), and that enough of the keys that the superior gives the role
# signed it. One key counts once, under however many names it stands. Sets VERSION, EXPIRES,
# CANONICAL (base64) and IN (the registry's id, of a root).
check_role() {
  local scheme sig key line needed
  local -a lines=()
  declare -A counted=()
  # To start jq costs more than anything else here, so it says everything at once.
  # shellcheck disable=SC2016
  ask "$2" '
    ($superior[0].signed | if $role == "catalog" then .delegations | {keys, role: .roles[0]}
      else {keys, role: .roles[$role]} end) as $by
    | $file | must(length == 1; "role file") | .[0]
    | must(keys == ["signatures", "signed"]; "role file")
    | must(.signed._type == $type; $type + " role")
    | must(.signed.spec_version | startswith("1."); "TUF version")
    | (.signed | [(.version | int), (.expires | time), (.["x-registry"] // "-" | plain),
        ($by.role.threshold | int | must(. > 0; "threshold"))] | join(" ")),
      (form | @base64), (.signed | canonical | @base64),
      (.signatures | group_by(.keyid)[][0] | .keyid as $id
        | select($by.role.keyids | any(. == $id)) | $by.keys[$id] as $key
        | [($key.scheme | plain), ($key.keyval.public | @base64),
           (.sig | must(test("\\A([0-9a-f]{2}){1,1024}\\z"); "signature"))] | join(" "))' \
    -n --slurpfile file "$1" --arg type "$3" --slurpfile superior "$4" --arg role "$5" \
    >"$WORK/facts"
  mapfile -t lines <"$WORK/facts"
  read -r VERSION EXPIRES IN needed <<<"${lines[0]}"
  printf '%s' "${lines[1]}" | base64 -d >"$WORK/form"
  # The pinned file came another way, and may be laid out for people.
  [[ $1 == "$PINNED" || $(digest_of "$1") == "$(digest_of "$WORK/form")" ]] ||
    refuse 9 "$2: not in its one form"
  CANONICAL=${lines[2]}
  printf '%s' "$CANONICAL" | base64 -d >"$WORK/signed"
  for line in "${lines[@]:3}"; do
    read -r scheme key sig <<<"$line"
    binary "$sig" >"$WORK/signature"
    printf '%s' "$key" | base64 -d >"$WORK/key"
    key=$WORK/key
    if [[ $scheme == ed25519 ]]; then
      key=$(head -c 65 "$WORK/key")
      [[ $key =~ ^[0-9a-f]{64}$ ]] || refuse 9 "$2: one of its keys is no ed25519 key"
    fi
    if verifies "$scheme" "$key"; then
      counted[$(digest_of "$WORK/key")]=1
    fi
  done
  ((${#counted[@]} >= needed)) ||
    refuse 9 "$2: signed by ${#counted[@]} of the keys that count, $needed are needed"
}

# check_age ROLE: of the role that was checked last.
check_age() {
  [[ -z $FIRST_EXPIRY || $EXPIRES < $FIRST_EXPIRY ]] && FIRST_EXPIRY=$EXPIRES
  [[ $EXPIRES > $NOW ]] && return 0
  ((IGNORE_EXPIRY)) || refuse 10 "$1 expired on $EXPIRES: see --at TIME and --ignore-expiry"
  say "WARNING: $1 EXPIRED on $EXPIRES, and is accepted because you ask for it: NOT FRESH"
  FRESH=0
}

# take_role ROLE META TYPE SUPERIOR: META is version, length and sha256, from the role above; the
# copy is WORK/ROLE.json.
take_role() {
  local version length digest path
  read -r version length digest <<<"$2"
  path=$META/$version.$1.json
  ((length <= MAX_ROLE)) || refuse 9 "$path: $length bytes, at most $MAX_ROLE are read"
  take "$path" "$digest" "$length" "$WORK/$1.json"
  check_role "$WORK/$1.json" "$path" "$3" "$4" "$1"
  ((VERSION == version)) || refuse 9 "$path: of another version"
  check_age "$1"
}

# ---------------------------------------------------------------- the chain, as TUF 1.0 §5 has it

# (1) The roots, one by one: each is signed by enough keys of the one before it, and of its own.
walk_roots() {
  local version path registry expires pinned
  check_role "$PINNED" "$PINNED" root "$PINNED" root
  cp -- "$PINNED" "$WORK/root.json"
  version=$VERSION registry=$IN expires=$EXPIRES pinned=$CANONICAL
  path=$META/$version.root.json
  if locate "$path"; then
    take_unnamed "$path" "$MAX_ROLE" "$WORK/next"
    check_role "$WORK/next" "$path" root "$WORK/root.json" root
    [[ $CANONICAL == "$pinned" ]] || refuse 9 "$path: not the root that is pinned"
  fi
  while path=$META/$((version + 1)).root.json && locate "$path"; do
    take_unnamed "$path" "$MAX_ROLE" "$WORK/next"
    check_role "$WORK/next" "$path (by the keys of root $version)" root "$WORK/root.json" root
    check_role "$WORK/next" "$path (by its own keys)" root "$WORK/next" root
    ((VERSION == version + 1)) || refuse 9 "$path: of another version"
    [[ $IN == "$registry" ]] || refuse 9 "$path: of another registry"
    mv -- "$WORK/next" "$WORK/root.json"
    version=$VERSION expires=$EXPIRES
  done
  ROOT_VERSION=$version REGISTRY=$registry
  # Only the newest has to be in force.
  EXPIRES=$expires
  check_age "root $version"
}

# (2) to (5): timestamp, snapshot, targets, catalog. Each is named with version, length and sha256.
walk_roles() {
  local info newest targets catalog
  take_unnamed "$META/timestamp.json" "$MAX_TIMESTAMP" "$WORK/timestamp.json"
  check_role "$WORK/timestamp.json" "$META/timestamp.json" timestamp "$WORK/root.json" timestamp
  check_age timestamp
  info=$(ask timestamp.json '.signed | (.["x-kept"] | [(.root | int), (.revision | int)] | @tsv),
    (.meta["snapshot.json"] | meta | @tsv)' "$WORK/timestamp.json")
  read -r newest KEPT <<<"${info%%$'\n'*}"
  ((newest <= ROOT_VERSION)) ||
    refuse 11 "$META/$((ROOT_VERSION + 1)).root.json: missing; the newest root is $newest"
  take_role snapshot "${info#*$'\n'}" snapshot "$WORK/root.json"

  info=$(ask snapshot '.signed.meta | (.["targets.json"], .["catalog.json"]) | meta | @tsv' \
    "$WORK/snapshot.json")
  targets=${info%%$'\n'*} catalog=${info#*$'\n'}
  take_role targets "$targets" targets "$WORK/root.json"
  # targets itself names no file; it leaves catalog.json, and only that, to the role "catalog".
  ask targets '.signed | must(.targets == {}; "targets") | .delegations
    | must([.roles[] | [.name, .paths]] == [["catalog", ["catalog.json"]]]; "delegation") | empty' \
    "$WORK/targets.json"
  take_role catalog "$catalog" targets "$WORK/targets.json"
}

# take_catalog DIGEST SIZE REVISION: a catalog root, checked to be of this registry; the copy is
# WORK/catalog-root. Sets TIME, and PARENT: digest and size of the one before it, or nothing.
take_catalog() {
  local path=catalog/targets/$1.catalog.json copy=$WORK/catalog-root version revision
  (($2 <= MAX_CATALOG)) || refuse 9 "$path: $2 bytes, at most $MAX_CATALOG are read"
  take "$path" "$1" "$2" "$copy"
  # FORMAT: it is believed only now, after the signatures. Absent counts as 1 until all have it.
  version=$(ask "$path" '(.format // {"read": 1}).read | int' "$copy") # FORMAT: make it mandatory
  ((version <= KNOWS)) || refuse 17 "$path: this mirror needs a newer script (it asks for $version)"
  # shellcheck disable=SC2016
  ask "$path" 'must(.kind == "catalog"; "catalog root")
    | must(.registry == $registry; "catalog root of this registry") | [(.revision | int),
       (.time | moment),
       (.parent // empty | (.digest | hex), (.size | int))] | join(" ")' \
    --arg registry "$REGISTRY" "$copy" >"$WORK/facts"
  read -r revision TIME PARENT <"$WORK/facts"
  [[ $revision == "$3" ]] || refuse 9 "$path: of revision $revision, not of $3"
}

# (6) The catalog root, by digest and length.
walk_catalog() {
  local target digest size path
  target=$(ask catalog '.signed.targets
    | must(keys == ["catalog.json"]; "target") | .["catalog.json"]
    | must((.custom | keys) == ["revision"]; "revision")
    | [(.hashes.sha256 | hex), (.length | int), (.custom.revision | int)] | @tsv' \
    "$WORK/catalog.json")
  read -r digest size REVISION <<<"$target"
  [[ -z $EXPECT || $EXPECT == "$digest" ]] ||
    refuse 9 "the catalog is $digest, the receipt says $EXPECT"
  take_catalog "$digest" "$size" "$REVISION"
  mv -- "$WORK/catalog-root" "$WORK/head.json"
  path=catalog/targets/$digest.catalog.json
  if [[ $TIME > $LATEST ]]; then
    ((IGNORE_EXPIRY)) || refuse 10 "$path: made at $TIME, which is in the future: set the clock"
    say "WARNING: the catalog was made at $TIME, which is in the future"
  fi
}

# The catalog roots before the current one, as far as the timestamp says that they are kept.
walk_history() {
  local digest size revision=$REVISION time=$TIME
  while [[ -n $PARENT ]] && ((revision > KEPT)); do
    read -r digest size <<<"$PARENT"
    revision=$((revision - 1))
    if ! locate "catalog/targets/$digest.catalog.json"; then
      # A bundle that continues from another, or is a part, has not all of them.
      ((BUNDLES == 0)) || break
      refuse 11 "catalog/targets/$digest.catalog.json: missing"
    fi
    take_catalog "$digest" "$size" "$revision"
  done
  TIME=$time
}

# ---------------------------------------------------------------- the tree

# A line for each document that is wanted: its digest and size; what is known of it, as JSON without
# spaces; and of a package document the package and the prefix of its leaf.

# batches LIST READER: the documents of a list, some hundred at a time: to start a program for each
# costs more than to read it.
batches() {
  local line size n=0 weight=0
  : >"$WORK/batch"
  while read -r line; do
    size=${line#* }
    size=${size%% *}
    ((size <= MAX_NODE)) || refuse 9 "catalog node ${line%% *}: too long"
    printf '%s\n' "$line" >>"$WORK/batch"
    n=$((n + 1)) weight=$((weight + size))
    if ((n == 500 || weight > MAX_NODE)); then
      take_batch
      "$2"
      : >"$WORK/batch"
      n=0 weight=0
    fi
  done <"$1"
  ((n)) || return 0
  take_batch
  "$2"
}

# take_batch: checked copies of what WORK/batch wants, all of them in WORK/documents; what is known
# of each, in the same order, in WORK/wanted.
take_batch() {
  local digest size wanted name prefix at line
  local -a copies=() expected=() lines=()
  rm -rf -- "$WORK/copies"
  mkdir -- "$WORK/copies"
  printf '\n' >"$WORK/line-feed"
  : >"$WORK/documents"
  : >"$WORK/wanted"
  while read -r digest size wanted name prefix; do
    node_path "$digest"
    if ((PARTIAL)) && [[ -n $name ]] && ! locate "$NODE"; then
      miss "$name ($NODE)"
      continue
    fi
    find_file "$NODE"
    located $((size + 1)) >"$WORK/copies/${#expected[@]}"
    copies+=("$WORK/copies/${#expected[@]}" "$WORK/line-feed")
    expected+=("$size $digest $NODE")
    printf '%s\n' "$wanted" >>"$WORK/wanted"
  done <"$WORK/batch"
  ((${#expected[@]})) || return 0
  stat -c %s -- "${copies[@]}" >"$WORK/lengths"
  sha256sum -- "${copies[@]}" >"$WORK/sums"
  paste -d ' ' -- "$WORK/lengths" "$WORK/sums" >"$WORK/found"
  mapfile -t lines <"$WORK/found"
  for at in "${!expected[@]}"; do
    line=${expected[at]}
    # Every second copy is a line feed.
    [[ ${lines[2 * at]} == "${line% *} "* ]] ||
      refuse 9 "${line##* }: not the bytes that were signed"
  done
  cat -- "${copies[@]}" >"$WORK/documents"
}

# walk_tree: from the topmost node, which stands in the catalog root, level by level.
walk_tree() {
  local depth=0
  : >"$WORK/packages"
  ask "catalog root" '.tree | tojson' "$WORK/head.json" >"$WORK/documents"
  ask "catalog root" '["", (.packages | int), (.releases | int)] | tojson' "$WORK/head.json" \
    >"$WORK/wanted"
  : >"$WORK/nodes"
  read_nodes
  while [[ -s $WORK/nodes ]]; do
    depth=$((depth + 1))
    ((depth < 64)) || refuse 9 "the catalog is too deep"
    mv -- "$WORK/nodes" "$WORK/level"
    : >"$WORK/nodes"
    batches "$WORK/level" read_nodes
  done
  batches "$WORK/packages" read_documents
}

# For each document what is known of it: $document and $want.
# shellcheck disable=SC2016
readonly EACH='$documents as $d | $wanted as $w
  | must(($d | length) == ($w | length); "number of documents")
  | range($d | length) | $d[.] as $document | $w[.] as $want | $document | '

# read_nodes: branches and leaves. Appends what they name to WORK/nodes and WORK/packages.
read_nodes() {
  local kind rest
  # shellcheck disable=SC2016
  ask "catalog nodes" "$EACH"' $want[0] as $prefix
    | must(.prefix == $prefix; "prefix") | .kind as $kind
    | must(if $kind == "branch" then (.children | [map(.packages), map(.releases)])
           elif $kind == "leaf" then (.packages | [map(1), map(.releases)])
           else false end | map(add // 0) == $want[1:]; "number of packages or releases")
    | if $kind == "branch" then .children | to_entries[]
        | ($prefix + (.key | must(test("\\A[0-9a-f]\\z"); "digit"))) as $below | .value
        | ["nodes", (.digest | hex), (.size | int),
           ([$below, (.packages | int), (.releases | int)] | tojson)]
      else must([.packages[].name] | . == unique; "order of names") | .packages[]
        | ["packages", (.digest | hex), (.size | int),
           ([(.name | package), (.releases | int)] | tojson), .name, $prefix] end
    | map(tostring) | join(" ")' \
    -n --slurpfile documents "$WORK/documents" --slurpfile wanted "$WORK/wanted" >"$WORK/found"
  while read -r kind rest; do
    printf '%s\n' "$rest" >>"$WORK/$kind"
  done <"$WORK/found"
}

# read_documents: appends to WORK/rows, for each archive, attachment and facts node: kind, package,
# release, media type, digest, size, diff_id.
read_documents() {
  check_names
  # shellcheck disable=SC2016
  ask "package documents" "$EACH"'
    must(.kind == "package" and .package == $want[0]; "document of " + $want[0])
    | must((.releases | length) == $want[1]; "number of releases")
    | must([.releases[] | [.release, .media_type]] | length == (unique | length); "releases")
    | .package as $name
    | (.releases[] | (.release | release) as $release | (.media_type | media) as $media
       | (["archive", $name, $release, $media, (.blob.digest | hex), (.blob.size | int),
           (.content.digest | hex)],
          (.attachments // [] | .[]
           | ["attachment", $name, $release, $media, (.digest | hex), (.size | int), "-"]))),
      (.facts // [] | .[] | ["facts", $name, "-", "-", (.digest | hex), (.size | int), "-"])
    | @tsv' -n --slurpfile documents "$WORK/documents" --slurpfile wanted "$WORK/wanted" \
    >>"$WORK/rows"
  [[ $COMMAND != recover ]] || keep_documents
}

# check_names: the sha256 of each package's name begins with its leaf's prefix.
check_names() {
  local digest size wanted name prefix at
  local -a files=() expected=() lines=()
  rm -rf -- "$WORK/names"
  mkdir -- "$WORK/names"
  while read -r digest size wanted name prefix; do
    printf '%s' "$name" >"$WORK/names/${#files[@]}"
    files+=("$WORK/names/${#files[@]}") expected+=("$prefix $name")
    PACKAGES=$((PACKAGES + 1))
  done <"$WORK/batch"
  sha256sum -- "${files[@]}" >"$WORK/sums"
  mapfile -t lines <"$WORK/sums"
  for at in "${!expected[@]}"; do
    [[ ${lines[at]} == "${expected[at]%% *}"* ]] ||
      refuse 9 "catalog node '${expected[at]%% *}': ${expected[at]#* } does not belong there"
  done
}

# keep_documents: as package.json beside the archives. The names in them were checked.
keep_documents() {
  local n=0 name
  ask "package documents" '.[0]' "$WORK/wanted" >"$WORK/kept"
  while read -r name; do
    mkdir -p -- "$TARGET/$name"
    mv -- "$WORK/copies/$n" "$TARGET/$name/package.json"
    chmod "$MODE" -- "$TARGET/$name/package.json"
    n=$((n + 1))
  done <"$WORK/kept"
}

# ---------------------------------------------------------------- archives

miss() {
  MISSED=$((MISSED + 1))
  say "not in this part: $*"
}

# check_diff_id FILE DIFF_ID WHERE: the bytes were checked before: only now they are unpacked.
check_diff_id() {
  local line
  line=$(gzip -dc <"$1" | head -c "$MAX_UNPACKED" | sha256sum) ||
    refuse 9 "$3: cannot be unpacked, or is longer than $MAX_UNPACKED bytes"
  [[ ${line%% *} == "$2" ]] || refuse 9 "$3: its CNR digest is another"
}

# walk_rows: every file that the package documents name. One that several name is read once.
walk_rows() {
  local kind name release media digest size diff_id path copy
  declare -A seen=()
  while IFS=$'\t' read -r kind name release media digest size diff_id; do
    path=catalog/blobs/sha256/${digest:0:2}/$digest
    if [[ $kind == facts ]]; then
      node_path "$digest"
      path=$NODE
    fi
    if ((PARTIAL)) && ! locate "$path"; then
      miss "$name $release $media $kind ($path)"
      continue
    fi
    if [[ $COMMAND == recover && $kind != facts ]]; then
      copy=$TARGET/$name/${name#*/}-$release.$media
      if [[ $kind == archive ]]; then
        copy+=.tar.gz
      else
        mkdir -p -- "$copy.attachments"
        copy+=.attachments/$digest
      fi
      take "$path" "$digest" "$size" "$WORK/blob"
      ((DIFF_IDS)) && [[ $kind == archive ]] && check_diff_id "$WORK/blob" "$diff_id" "$path"
      # In its place only when it is known to be right.
      mv -- "$WORK/blob" "$copy"
      chmod "$MODE" -- "$copy"
    elif [[ -z ${seen["$digest $size"]:-} ]]; then
      check_blob "$path" "$digest" "$size"
      if ((DIFF_IDS)) && [[ $kind == archive ]]; then
        located "$size" >"$WORK/blob"
        check_diff_id "$WORK/blob" "$diff_id" "$path"
      fi
    fi
    [[ $kind != archive ]] || RELEASES=$((RELEASES + 1))
    if [[ -z ${seen["$digest $size"]:-} ]]; then
      seen["$digest $size"]=1
      FILES=$((FILES + 1)) BYTES=$((BYTES + size))
    fi
  done <"$WORK/rows"
}

# ---------------------------------------------------------------- the command line

COMMAND='' PINNED='' WITHOUT_ROOT=0 EXPECT='' AT='' TARGET=''
IGNORE_EXPIRY=0 DIFF_IDS=0 PARTIAL=0 FRESH=1 FIRST_EXPIRY='' BUNDLES=0
ROOT_VERSION=0 REGISTRY='' REVISION=0 TIME='' PARENT='' VERSION=0 EXPIRES='' IN='' CANONICAL=''
KEPT=0 NOW='' LATEST='' MODE=644
PACKAGES=0 RELEASES=0 FILES=0 BYTES=0 MISSED=0 WORK='' REFUSED=0

bad_usage() {
  say "$*"
  usage >&2
  exit 2
}

# value_of ARGUMENT...: an option's value.
need_value() { (($# > 1)) || bad_usage "$1 needs a value"; }

parse() {
  local -a rest=()
  while (($#)); do
    case $1 in
      --root) need_value "$@" && PINNED=$2 && shift ;;
      --expect) need_value "$@" && EXPECT=$2 && shift ;;
      --at) need_value "$@" && AT=${2%Z} && shift ;;
      --without-root) WITHOUT_ROOT=1 ;;
      --ignore-expiry) IGNORE_EXPIRY=1 ;;
      --diff-ids) DIFF_IDS=1 ;;
      --partial) PARTIAL=1 ;;
      -h | --help | help) usage && exit 0 ;;
      --) shift && rest+=("$@") && break ;;
      -*) bad_usage "there is no option $1" ;;
      *) rest+=("$1") ;;
    esac
    shift
  done
  COMMAND=${rest[0]:-}
  rest=("${rest[@]:1}")
  case $COMMAND in
    list | verify) ;;
    recover)
      TARGET=${rest[0]:-}
      [[ -n $TARGET ]] || bad_usage "recover needs a folder to write to"
      rest=("${rest[@]:1}")
      ;;
    *) bad_usage "say list, verify or recover" ;;
  esac
  ((${#rest[@]})) || rest=("$(dirname -- "${BASH_SOURCE[0]}")")
  FOLDERS=("${rest[@]}")
}

check_tools() {
  local tool
  ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || refuse 1 "bash 4.4 or newer is needed"
  for tool in jq openssl sha256sum stat dd base64 gzip; do
    command -v "$tool" >/dev/null || refuse 1 "$tool is needed, and is not installed"
  done
  [[ $(openssl version) == OpenSSL\ [3-9]* ]] || refuse 1 "openssl 3 is needed"
}

set_clock() {
  NOW=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  LATEST=$(date -u -d '10 minutes' +%Y-%m-%dT%H:%M:%SZ)
  [[ -n $AT ]] || return 0
  [[ $AT =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$ ]] ||
    bad_usage "--at $AT: write a time as 2026-01-31T12:00:00"
  NOW=${AT}Z LATEST=${AT}Z FRESH=0
  say "WARNING: checked as of $NOW: NOT FRESH"
}

set_expected() {
  [[ -n $EXPECT ]] || return 0
  [[ ! -f $EXPECT ]] || EXPECT=$(head -c 1048576 -- "$EXPECT")
  [[ $EXPECT =~ (^|catalog=|^sha256:)([0-9a-f]{64})([[:space:]]|$) ]] ||
    bad_usage "--expect: neither a receipt, a file with one, nor a digest"
  EXPECT=${BASH_REMATCH[2]}
}

set_pinned() {
  local version
  if ((WITHOUT_ROOT)); then
    [[ -z $PINNED ]] || bad_usage "--root or --without-root, not both"
    for version in {1..1024}; do
      if locate "$META/$version.root.json"; then
        take_unnamed "$META/$version.root.json" "$MAX_ROLE" "$WORK/pinned.json"
        PINNED=$WORK/pinned.json
        say "WARNING: root $version is believed unchecked; its sha256 is $(digest_of "$PINNED")"
        return
      fi
    done
    refuse 11 "$META/1.root.json: missing"
  fi
  [[ -n $PINNED ]] || bad_usage "say --root FILE: the root.json that the publisher gave you"
  [[ -f $PINNED ]] || refuse 3 "$PINNED: there is no such file"
  (($(stat -L -c %s -- "$PINNED") <= MAX_ROLE)) || refuse 3 "$PINNED: too long for a root file"
}

make_target() {
  local found
  [[ $COMMAND == recover ]] || return 0
  mkdir -p -- "$TARGET"
  for found in "$TARGET"/* "$TARGET"/.[!.]*; do
    [[ ! -e $found && ! -L $found ]] || refuse 3 "$TARGET: not empty; take a new folder"
  done
  MODE=$(printf '%o' $((0666 & ~$(umask))))
}

# end CODE: a command that failed unforeseen is never silent, and never looks like success.
end() {
  rm -rf -- "$WORK"
  (($1 == 0 || $1 == 13 || REFUSED)) || say "stopped: nothing that was printed or written counts"
}

main() {
  local folder
  parse "$@"
  check_tools
  WORK=$(mktemp -d)
  trap 'end $?' EXIT
  for folder in "${FOLDERS[@]}"; do
    [[ -d $folder ]] || refuse 3 "$folder: there is no such folder"
  done
  set_clock
  set_expected
  make_target
  for folder in "${FOLDERS[@]}"; do
    [[ ! -f $folder/bundle.json ]] || open_bundle "$folder/bundle.json"
  done
  set_pinned

  walk_roots
  walk_roles
  walk_catalog
  [[ $COMMAND == list ]] || walk_history
  : >"$WORK/rows"
  walk_tree

  if [[ $COMMAND == list ]]; then
    local kind name release media digest size diff_id
    while IFS=$'\t' read -r kind name release media digest size diff_id; do
      [[ $kind != archive ]] || printf '%s\n' "$name $release $media $size $digest"
    done <"$WORK/rows" | sort
  else
    walk_rows
    printf 'good: registry %s, revision %s of %s\n' "$REGISTRY" "$REVISION" "$TIME"
    printf 'good: %s packages, %s releases, %s archives and other files of %s bytes\n' \
      "$PACKAGES" "$RELEASES" "$FILES" "$BYTES"
    printf 'good: root %s; signatures are good until %s\n' "$ROOT_VERSION" "$FIRST_EXPIRY"
    ((MISSED == 0)) || printf 'not in this part: %s files\n' "$MISSED"
    [[ $COMMAND != recover ]] || printf 'written to %s\n' "$TARGET"
  fi
  ((FRESH)) || exit 13
}

main "$@"

-- The registry's URLs for lighttpd's mod_magnet.
local root = lighty.env["physical.doc-root"]:gsub("/$", "")
local uri, query = lighty.env["uri.path"], lighty.env["uri.query"] or ""
local header = lighty.header
header["Access-Control-Allow-Origin"] = "*"
header["X-Content-Type-Options"] = "nosniff"

local function is_file(path)
  local s = lighty.stat(root .. path)
  return s and s.is_file
end
local function document(status, name)
  header["Content-Type"] = "application/json"
  local own = uri:match("^/v2/") and "/v2/" .. name or ""
  lighty.content = { { filename = root .. (is_file(own) and own or "/cnr/" .. name) } }
  return status
end
local function argument(name)
  local found = ("&" .. query):match("&" .. name .. "=([^&]+)")
  return found and found:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end)
end
local function plain(text)
  return text:match("^[%w][%w._-]*$") or "!"
end

local method = lighty.env["request.method"]
if method ~= "GET" and method ~= "HEAD" then
  header["Allow"] = "GET, HEAD"
  return document(405, "405.json")
end

if uri:find("/../", 1, true) then return document(404, "404.json") end

local LONG = "public, max-age=31536000, immutable"
-- In the order in which they are looked for.
local FOLDERS = {
{% for type, folder in folders.items() %}
  { "{{ folder }}", "{{ type }}" },
{% endfor %}
}
local function blob(hex)
  return "/catalog/blobs/sha256/" .. hex:sub(1, 2) .. "/" .. hex
end
-- OCI: the file and its media type; the folder tells the type of a manifest.
local function registry(path)
  if path == "/v2" or path == "/v2/" then return "/v2/index.json", "application/json" end
  if path == "/v2/_catalog" or path:match("^/v2/.+/tags/list$") then return path, "application/json" end
  local repo, kind, hex = path:match("^(/v2/.+)/(%l+)/sha256[:/](%x+)$")
  if hex and (#hex ~= 64 or hex:match("%u")) then return end
  local name = hex and "sha256/" .. hex
  if not hex then
    repo, name = path:match("^(/v2/.+)/manifests/([%w_][%w._-]*)$")
    kind = repo and "manifests"
  end
  if kind == "manifests" then
    for _, each in ipairs(FOLDERS) do
      local found = repo .. "/" .. each[1] .. "/" .. name
      if is_file(found) then return found, each[2], hex end
    end
  elseif kind == "blobs" then
    local own = repo .. "/blobs/" .. name
    return is_file(own) and own or blob(hex), "application/octet-stream", hex
  elseif kind == "referrers" then
    return repo .. "/referrers/" .. name, "{{ index_type }}"
  end
end

if uri:match("^/api/") or uri:match("^/version/?$") then uri = "/cnr" .. uri end
local file, kind, cache = uri, nil, "public, max-age=60"
local function moved(place)
  header["Location"] = place
  return 301
end
-- Pages for people: their links are relative, so a folder is named with its slash.
local PAGES = { packages = true, revisions = true, assets = true, search = true }
local TYPES = {
  html = "text/html; charset=utf-8", css = "text/css; charset=utf-8",
  js = "text/javascript; charset=utf-8", xml = "application/atom+xml; charset=utf-8",
}
if uri == "/cnr" then return moved("./") end
if uri == "/cnr/" then return moved("../") end
if uri == "/" or uri == "/index.html" or uri == "/trust.html" or uri == "/feed.xml"
  or PAGES[uri:match("^/(%l+)/") or uri:match("^/(%l+)$")] then
  if is_file(uri .. "/index.html") and not uri:match("/$") then
    return moved(uri:match("[^/]+$") .. "/")
  end
  if uri:match("/$") then file = uri .. "index.html" end
  kind = TYPES[file:match("%.(%l+)$")]
elseif uri:match("^/cnr/") then
  kind = "application/json"
  local bare = uri:gsub("/$", "")
  local ns, mt = argument("namespace"), argument("media_type")
  local package = "^(/cnr/api/v1/packages/[^/]+/[^/]+/"
  local archive = bare:match(package .. "[^/]+/[^/]+/pull)$") or bare:match(package .. "blobs/sha256/%x+)$")
  local twin = bare:match(package .. "[^/]+/[^/]+/pull)/json$") or bare:match(package .. "blobs/sha256/[^/]+)/json$")
  if bare == "/cnr/api/v1/packages" and (ns or mt) then
    file = "/cnr/api/v1/packages-by/" .. (ns and plain(ns) or "_") .. "/" .. (mt and plain(mt) or "_") .. ".json"
    if not is_file(file) then file = "/cnr/api/v1/packages-by/empty.json" end
  elseif mt and bare:match("^/cnr/api/v1/packages/[^/]+/[^/]+$") and is_file(bare .. "/index.json") then
    file = bare .. "/type-" .. plain(mt) .. ".json"
    if not is_file(file) then file = "/cnr/api/v1/packages-by/empty.json" end
  elseif twin then
    file = twin .. ".json"
  elseif archive and argument("format") == "json" then
    file = archive .. ".json"
  elseif archive then
    file, kind = archive, "application/x-gzip"
    if archive:match("/blobs/sha256/") then cache = LONG end
    local a, b, r = archive:match("^/cnr/api/v1/packages/([^/]+)/([^/]+)/(%d[^/]*)/[^/]+/pull$")
    if not a then
      a, b, r = archive:match("^/cnr/api/v1/packages/([^/]+)/([^/]+)/blobs/sha256/(%x%x%x%x%x%x%x%x)")
    end
    if a and is_file(file) then header["Content-Disposition"] = a .. "_" .. b .. "_" .. r .. ".tar.gz" end
  elseif is_file(bare .. "/index.json") then
    file = bare .. "/index.json"
  end
elseif uri:match("^/v2/") or uri == "/v2" then
  header["Docker-Distribution-Api-Version"] = "registry/2.0"
  local digest
  file, kind, digest = registry(uri)
  if not file or not is_file(file) then return document(404, "404.json") end
  if digest then header["Docker-Content-Digest"], cache = "sha256:" .. digest, LONG end
elseif uri:match("^/helm/") then
  local hex = uri:match("^/helm/[^/]+/b/(%x+)/[^/]+%.tgz$")
  if hex and #hex == 64 and not hex:match("%u") then
    cache = LONG
    if not is_file(uri) then file = blob(hex) end
  end
  kind = uri:match("%.ya?ml$") and "application/yaml" or uri:match("%.prov$") and "text/plain"
    or uri:match("%.tgz$") and "application/x-gzip"
elseif uri == "/openapi.json" then
  kind = "application/json"
elseif uri:match("^/catalog/metadata/") then
  kind, cache = "application/json", "no-cache"
elseif uri:match("^/catalog/blobs/") then
  kind, cache = "application/x-gzip", LONG
elseif uri:match("^/catalog/nodes/") or uri:match("^/catalog/targets/") then
  kind, cache = "application/json", LONG
end

if not is_file(file) then return document(404, "404.json") end
header["Cache-Control"] = cache
if kind then header["Content-Type"] = kind end
if kind == TYPES.html then
  -- No other site may show a page in a frame, or learn from which page a link was followed.
  header["Content-Security-Policy"] = "frame-ancestors 'none'"
  header["Referrer-Policy"] = "no-referrer"
end
if kind == "application/json" and is_file(file .. ".gz") then
  header["Vary"] = "Accept-Encoding"
  if (lighty.request["Accept-Encoding"] or ""):find("gzip", 1, true) then
    file = file .. ".gz"
    header["Content-Encoding"] = "gzip"
  end
end
lighty.env["physical.path"] = root .. file

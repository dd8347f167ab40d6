-- The registry's URLs for lighttpd's mod_magnet.
local root = lighty.env["physical.doc-root"]:gsub("/$", "")
local uri, query = lighty.env["uri.path"], lighty.env["uri.query"] or ""
local header = lighty.header
header["Access-Control-Allow-Origin"] = "*"
header["X-Content-Type-Options"] = "nosniff"

local function document(status, name)
  header["Content-Type"] = "application/json"
  lighty.content = { { filename = root .. "/cnr/" .. name } }
  return status
end
local function is_file(path)
  local s = lighty.stat(root .. path)
  return s and s.is_file
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

if uri:match("^/api/") or uri:match("^/version/?$") then uri = "/cnr" .. uri end
local file, kind, cache = uri, nil, "public, max-age=60"
if uri == "/" or uri == "/cnr" or uri == "/cnr/" then
  file = "/index.html"
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
    local a, b, r = archive:match("^/cnr/api/v1/packages/([^/]+)/([^/]+)/(%d[^/]*)/[^/]+/pull$")
    if not a then
      a, b, r = archive:match("^/cnr/api/v1/packages/([^/]+)/([^/]+)/blobs/sha256/(%x%x%x%x%x%x%x%x)")
    end
    if a and is_file(file) then header["Content-Disposition"] = a .. "_" .. b .. "_" .. r .. ".tar.gz" end
  elseif is_file(bare .. "/index.json") then
    file = bare .. "/index.json"
  end
  if uri:match("/blobs/sha256/") then cache = "public, max-age=31536000, immutable" end
elseif uri:match("^/catalog/metadata/") then
  kind, cache = "application/json", "no-cache"
elseif uri:match("^/catalog/blobs/") then
  kind, cache = "application/gzip", "public, max-age=31536000, immutable"
elseif uri:match("^/catalog/nodes/") or uri:match("^/catalog/targets/") then
  kind, cache = "application/json", "public, max-age=31536000, immutable"
end

if not is_file(file) then return document(404, "404.json") end
header["Cache-Control"] = cache
if kind then header["Content-Type"] = kind end
if kind == "application/json" and is_file(file .. ".gz") then
  header["Vary"] = "Accept-Encoding"
  if (lighty.request["Accept-Encoding"] or ""):find("gzip", 1, true) then
    file = file .. ".gz"
    header["Content-Encoding"] = "gzip"
  end
end
lighty.env["physical.path"] = root .. file

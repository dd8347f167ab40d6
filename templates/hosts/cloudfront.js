// A CloudFront function (viewer request, runtime 2.0) in front of a bucket that
// `cnrmirror publish` fills: both prefixes, trailing slashes, ?format=json, list filters,
// OCI digests with an escaped colon, folders of pages.
function value(query, name) {
  var found = query[name];
  if (!found || !found.value) return "";
  try {
    return decodeURIComponent(found.value);
  } catch (error) {
    return "!"; // not a text at all: names nothing that is there
  }
}
function plain(text) {
  return /^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(text) ? text : "!";
}
function moved(place) {
  return {
    statusCode: 301,
    statusDescription: "Moved Permanently",
    headers: { location: { value: place }, "cache-control": { value: "public, max-age=60" } },
  };
}
function handler(event) {
  var request = event.request;
  var query = request.querystring;
  var uri = request.uri;
  // Pages for people: their links are relative, so a folder is named with its slash.
  if (/^\/cnr\/?$/.test(uri)) return moved(uri === "/cnr" ? "./" : "../");
  var folder =
    /^\/(?:revisions|packages(?:\/[A-Za-z0-9][A-Za-z0-9._-]*){0,2})(\/?)$/.exec(uri);
  if (folder && folder[1]) uri = uri + "index.html";
  else if (folder && !/\.html$/.test(uri)) return moved(uri.replace(/^.*\//, "") + "/");
  uri = uri.replace(/\/sha256%3[aA]([0-9a-f]{64})$/, "/sha256:$1");
  if (uri.length > 1 && uri.charAt(uri.length - 1) === "/") uri = uri.slice(0, -1);
  if (uri === "/v2") uri = "/v2/"; // the one key with a slash at its end
  if (uri === "/") uri = "/index.html";
  if (/^\/(api\/|version$)/.test(uri)) uri = "/cnr" + uri;
  var namespace = value(query, "namespace");
  var type = value(query, "media_type");
  var archive =
    /^\/cnr\/api\/v1\/packages\/[^\/]+\/[^\/]+\/([^\/]+\/[^\/]+\/pull|blobs\/sha256\/[0-9a-f]{64})$/;
  if (uri === "/cnr/api/v1/packages" && (namespace || type)) {
    uri = "/cnr/api/v1/packages-by/" + (namespace ? plain(namespace) : "_") + "/" +
      (type ? plain(type) : "_") + ".json";
  } else if (type && /^\/cnr\/api\/v1\/packages\/[^\/]+\/[^\/]+$/.test(uri)) {
    uri = uri + "/type-" + plain(type) + ".json";
  } else if (value(query, "format") === "json" && archive.test(uri)) {
    uri = uri + "/json";
  }
  // A bucket reads a plus in a path as a space.
  request.uri = uri.replace(/\+/g, "%2B");
  // Some query names (acl, versionId, response-…) mean something to the bucket itself.
  request.querystring = {};
  return request;
}

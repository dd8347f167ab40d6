"""Read the files of a mirror, or of any registry, over HTTP or HTTPS: bounded, patient, quiet.

Nothing is sent that was not asked for: no cookies, no .netrc, no secret to another host. A host
that drips, stalls or sends without end is given up. What a public host answers leads nowhere but to
public addresses (see ``guard``).
"""

from __future__ import annotations

import contextlib
import functools
import queue
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

import msgspec
import requests
import urllib3

from cnrmirror.model.errors import AccessDenied, IncompleteError, NetworkError, Tampered
from cnrmirror.objects.access import Access
from cnrmirror.objects.adapter import Adapter
from cnrmirror.objects.address import for_every_host, host_of, proxies, without_credentials
from cnrmirror.objects.base import (
    PIECE,
    PLAIN,
    CachedAnswer,
    Extra,
    Reader,
    ViewForm,
    bounded,
    check_path,
    read,
)
from cnrmirror.objects.certificates import not_vouched_for
from cnrmirror.objects.guard import Guard, Net, PrivateAddress
from cnrmirror.objects.origin import origin
from cnrmirror.objects.s3_words import MAX_BYTES, Said
from cnrmirror.objects.within import Outcome, Wait, within

_AGENT = {"User-Agent": "cnrmirror", "Accept-Encoding": "identity"}
_RETRIED = {408, 429, 500, 502, 503, 504, *range(520, 530)}
_MAX_REDIRECTS = 5
_MAX_WAIT = 120.0


class Patience(msgspec.Struct, frozen=True):
    """How long a host is waited for, and how much is asked of it.

    Args:
        timeout: seconds to wait for a connection, and for each next byte.
        min_rate: bytes a second below which, after the timeout, a host is given up.
        attempts: how often a request is tried when the host is in trouble.
        rate: at most so many requests a second; 0 for no limit.
        give_up_after: after so many failures in a row nothing more is asked; 0 for never.
    """

    timeout: float = 20
    min_rate: int = 8000
    attempts: int = 3
    rate: float = 0
    give_up_after: int = 0


def _wait(done: queue.SimpleQueue[Outcome], seconds: float) -> Outcome:
    return done.get(timeout=seconds)


class HttpReader(Reader):
    """A site behind HTTP or HTTPS.

    Args:
        url: the address of the site, where ``catalog/`` lies.
        patience: how long the host is waited for.
        headers: sent to this host (scheme, name and port), and never to another.
        access: in whose name it is asked, with which certificates, and where it may lead.
        sign: headers for one address of this host, made anew for each request.
        net: how names are resolved and connections made; tests have a network of their own.
        wait: what another thread puts into a queue, or queue.Empty when the seconds are over.
        sleep, clock: how time is spent and read; tests hold a clock of their own.
    """

    views: ViewForm = "addresses"

    def __init__(
        self,
        url: str,
        patience: Patience = Patience(),
        headers: Mapping[str, str] | None = None,
        access: Access = Access(),
        *,
        sign: Callable[[str], Mapping[str, str]] = lambda url: {},
        net: Net = Net(),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        wait: Wait = _wait,
    ) -> None:
        self.name, headers = without_credentials(url, dict(headers or {}))
        self._patience = patience
        self._timeout = patience.timeout
        self._sleep = sleep
        self._clock = clock
        self._wait = wait
        self._access = access
        self._sign = sign
        guard = Guard(host_of(self.name), access.allow_private, net)
        # The adapter alone: a session adds .netrc and cookies, and reads the bodies of redirects.
        self._adapter = Adapter(self.name, guard, access.tls, 32)
        self._headers = headers
        self._origin = origin(self.name)
        self._pause = 1 / patience.rate if patience.rate else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._failures = 0
        self.requests = 0

    def fetch(self, path: str, max_bytes: int) -> Iterator[bytes]:
        """See ``Reader``."""
        url = f"{self.name}/{quote(check_path(path), safe='/+@:')}"
        yield from self.get(url, max_bytes)

    def ask(self, address: str, max_bytes: int) -> Iterator[bytes]:
        """See ``base.Reader``."""
        return self.get(f"{self.name}/{address}", max_bytes)

    @property
    def authorization(self) -> str:
        """See ``WebReader``."""
        return self._headers.get("Authorization", "")

    def get(
        self,
        url: str,
        max_bytes: int,
        where: str = "",
        as_sent: bool = False,
        extra: Extra = PLAIN,
    ) -> Iterator[bytes]:
        """See ``WebReader``."""
        where = where or url
        with self._response(url, where, extra) as response:
            if not as_sent and _encoding(response):
                raise Tampered(f"{where}: the host sent it encoded, which was not asked for")
            yield from bounded(self._pieces(response, where), max_bytes, where)

    def document(
        self, url: str, max_bytes: int, kept: CachedAnswer | None = None, extra: Extra = PLAIN
    ) -> CachedAnswer:
        """See ``WebReader``."""
        if kept:
            extra = msgspec.structs.replace(extra, headers={**extra.headers, **kept.conditions})
        for attempt in range(1, self._patience.attempts + 1):
            with self._response(url, url, extra) as response:
                if response.status_code == 304 and kept is not None:
                    return kept
                pieces = bounded(self._pieces(response, url), max_bytes, url)
                try:
                    body = read(pieces)
                except NetworkError:
                    if attempt == self._patience.attempts:
                        raise
                    continue
                if _encoding(response):
                    body = _gunzipped(body, max_bytes, url)
                headers = response.headers
                etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
                said = {name: headers[name] for name in extra.wanted if name in headers}
                return CachedAnswer(body, etag, modified, said)
        raise AssertionError("the last attempt returns or raises")

    @property
    def gave_up(self) -> bool:
        """See ``WebReader``."""
        return 0 < self._patience.give_up_after <= self._failures

    def close(self) -> None:
        """Let go of the connections."""
        self._adapter.close()

    def _response(self, url: str, where: str, extra: Extra) -> requests.Response:
        if self.gave_up:
            raise NetworkError(
                f"{where}: not asked, {self._failures} requests failed in a row", gave_up=True
            )
        try:
            response = self._answer(for_every_host(url), where, extra)
        except NetworkError:
            with self._lock:
                self._failures += 1
            raise
        self._failures = 0
        return response

    def _answer(self, url: str, where: str, extra: Extra) -> requests.Response:
        for attempt in range(1, self._patience.attempts + 1):
            last = attempt == self._patience.attempts
            try:
                response = self._follow(url, where, extra)
            except PrivateAddress as error:
                raise self._access.private(where, error) from error
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError,
                    ValueError) as error:  # fmt: skip
                untrusted = not_vouched_for(error)
                if last or untrusted:
                    reason = untrusted or _reason(error)
                    raise NetworkError(f"{where}: {reason}") from error
                self._sleep(random.uniform(0.1, 0.5) * 2**attempt)
                continue
            status = response.status_code
            if status == 200 or (status == 304 and extra.conditional):
                return response
            gone = status in (401, 403, 404, 410)
            final = gone or last or status not in _RETRIED
            said = self._said(response, where) if final else Said()
            response.close()
            if gone:
                raise self._lacking(response, url, where, said, extra)
            if final:
                details = {"status": status, "code": said.code, "region": said.region}
                raise NetworkError(f"{where}: the host answers {_shown(status, said)}", **details)
            self._rest(_retry_after(response) or random.uniform(0.1, 0.5) * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _said(self, response: requests.Response, where: str) -> Said:
        """What an error of S3's kind says; bounded, in time, too."""
        region = response.headers.get("x-amz-bucket-region", "")
        text = b""
        if "xml" in response.headers.get("Content-Type", ""):
            take = functools.partial(response.raw.read, MAX_BYTES, decode_content=False)
            with contextlib.suppress(urllib3.exceptions.HTTPError, OSError, NetworkError):
                text = within(2 * self._timeout, take, where, self._wait)
        said = Said.parse(text.decode(errors="replace"))
        return msgspec.structs.replace(said, region=region or said.region)

    def _lacking(
        self, response: requests.Response, url: str, where: str, said: Said, extra: Extra
    ) -> IncompleteError | AccessDenied:
        status = response.status_code
        if status == 401 or (status == 403 and not self._access.static):
            own = origin(url) if extra.authorization else self._origin
            stranger = "" if origin(response.url) == own else host_of(response.url)
            given = "Authorization" in self._headers
            challenge = response.headers.get("WWW-Authenticate", "")
            return self._access.refused(where, status, given, stranger, challenge)
        what = "missing, or not for this user" if status == 403 else "missing"
        details = {"status": status, "code": said.code, "region": said.region}
        return IncompleteError(f"{where}: {what} ({_shown(status, said)})", **details)

    def _follow(self, url: str, where: str, extra: Extra) -> requests.Response:
        asked = origin(url)
        for _ in range(_MAX_REDIRECTS):
            self._take_turn()
            ours = dict(self._headers) if origin(url) == self._origin else {}
            if extra.authorization is not None and origin(url) in (asked, self._origin):
                ours.pop("Authorization", None)
                if extra.authorization and origin(url) == asked:
                    ours["Authorization"] = extra.authorization
            request = requests.Request("GET", url, {**_AGENT, **ours, **extra.headers}).prepare()
            if origin(url) == self._origin:
                request.headers.update(self._sign(str(request.url)))
            response = within(
                2 * self._timeout,
                functools.partial(
                    self._adapter.send, request, stream=True, timeout=self._timeout,
                    proxies=proxies(*origin(url)),
                ),
                where, self._wait,
            )  # fmt: skip
            target = response.headers.get("Location")
            if response.status_code not in (301, 302, 303, 307, 308) or not target:
                return response
            response.close()
            following = requests.compat.urljoin(url, target)
            scheme = urlsplit(following).scheme
            if scheme not in ("http", "https") or (url.startswith("https:") and scheme == "http"):
                raise Tampered(f"{where}: redirected to {following:.200}")
            url = following
        raise NetworkError(f"{where}: more than {_MAX_REDIRECTS} redirects")

    def _take_turn(self) -> None:
        with self._lock:
            self.requests += 1
            wait = self._next - self._clock()
            self._next = max(self._next, self._clock()) + self._pause
        if wait > 0:
            self._sleep(wait)

    def _rest(self, seconds: float) -> None:
        """Ask nothing of this host for so long, from no thread."""
        with self._lock:
            self._next = max(self._next, self._clock() + seconds)

    def _pieces(self, response: requests.Response, where: str) -> Iterator[bytes]:
        raw: urllib3.HTTPResponse = response.raw
        began, seen = self._clock(), 0
        try:
            take = functools.partial(raw.read1, PIECE, decode_content=False)
            # Bytes of known length cannot be held back without being late; those of chunks can.
            if raw.chunked:
                take = functools.partial(within, 2 * self._timeout, take, where, self._wait)
            while piece := take():
                seen += len(piece)
                yield piece
                # What came so far must have come at the least rate, after a little patience.
                if self._clock() > began + self._timeout + seen / self._patience.min_rate:
                    raise NetworkError(
                        f"{where}: slower than {self._patience.min_rate} bytes a second"
                    )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise NetworkError(f"{where}: {_reason(error)}", midway=True) from error


def _shown(status: int, said: Said) -> str:
    return f"{status}: {said.words}" if said.words else str(status)


def _encoding(response: requests.Response) -> str:
    found: str = response.headers.get("Content-Encoding", "").lower()
    return "" if found == "identity" else found


def _gunzipped(data: bytes, max_bytes: int, where: str) -> bytes:
    gunzip = zlib.decompressobj(wbits=31)
    try:
        body = gunzip.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise Tampered(f"{where}: encoded in an unknown way: {error}") from error
    if len(body) > max_bytes or not gunzip.eof:
        raise Tampered(f"{where}: longer than the {max_bytes} bytes that it may have")
    return body


def _retry_after(response: requests.Response) -> float:
    """The seconds that a host asks for, as a number or a date (RFC 9110, 10.2.3), bounded."""
    text = response.headers.get("Retry-After", "")
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return min(float(text), _MAX_WAIT)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(0.0, seconds), _MAX_WAIT)


def _reason(error: Exception) -> str:
    """The innermost cause, in one line."""
    cause: BaseException = error
    while cause.__cause__ is not None or cause.__context__ is not None:
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__

"""address.py: which addresses are of one host."""

from __future__ import annotations

import pytest

from cnrmirror.model.errors import InputError
from cnrmirror.objects.address import without_credentials
from cnrmirror.objects.origin import origin


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example/x", "https://A.Example:443/y"),
        ("http://a.example", "http://a.example:80"),
        ("http://a.example:", "http://a.example"),
        ("http://[::1]/x", "http://[::1]:80/"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://u:p@a.example:8443", "https://a.example:8443/x"),
    ],
)
def test_one_host_in_two_spellings_is_one(one: str, other: str) -> None:
    assert origin(one) == origin(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://a.example", "http://a.example"),
        ("https://a.example", "https://a.example:80"),
        ("http://a.example", "http://a.example:443"),
        ("http://a.example", "http://a.example.other.example"),
        ("http://a.example:8080", "http://a.example:80"),
        ("http://[::1]:80", "http://[::80]"),
    ],
)
def test_another_host_or_port_is_another(one: str, other: str) -> None:
    assert origin(one) != origin(other)


@pytest.mark.parametrize("end", ["?", "?a=b", "/#", "/x#a", "?a#b"])
def test_an_address_that_paths_cannot_be_put_after_is_refused(end: str) -> None:
    with pytest.raises(InputError, match="without a query") as caught:
        without_credentials(f"https://me:s3cr3t@a.example{end}", {})
    assert "s3cr3t" not in caught.value.message
    assert without_credentials("https://a.example/x/", {})[0] == "https://a.example/x"

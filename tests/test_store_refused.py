"""A store in a bucket, of which the service refuses to say anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnrmirror.model.digest import Descriptor
from cnrmirror.model.errors import StorageError
from cnrmirror.objects.partial import PartialStore
from cnrmirror.objects.s3 import BucketObjects
from cnrmirror.objects.s3_settings import S3Settings
from tests.s3_double import error, serving


def test_a_bucket_that_may_not_be_read_is_not_taken_for_one_that_has_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("CONFIG_FILE", "SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(f"AWS_{name}", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "making").mkdir()
    blob = Descriptor.of(b"not there")
    with serving() as service:
        settings = S3Settings(endpoint=service.url)
        store = PartialStore(
            tmp_path / "catalog", tmp_path / "making",
            lambda store: BucketObjects("s3://site/x", settings, store, conditions=True), 1000,
        )  # fmt: skip
        assert not store.holds([blob])
        service.rule = lambda asked: error(403, "AccessDenied")
        with pytest.raises(StorageError, match="the mirror's store"):
            store.holds([blob])
        store.place.close()

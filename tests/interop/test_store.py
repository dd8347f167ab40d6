"""A mirror whose site is in SeaweedFS (S3) or in Azurite (Azure): what the suite says, for real."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
import requests
from obstore.store import AzureStore

from tests.interop.azure import ACCOUNT, CONTAINER, KEY, Azure, azure
from tests.interop.bucket import BUCKET, S3, s3_server
from tests.places import API
from tests.store_suite import Machine, StoreSuite

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azure]:
    with azure(tmp_path_factory.mktemp("azure")) as found:
        yield found


class TestSeaweed(StoreSuite):
    @pytest.fixture
    def place(self, bucket: S3) -> tuple[str, dict[str, str]]:
        self.bucket = bucket
        self.prefix = uuid.uuid4().hex
        return f"s3://{BUCKET}/{self.prefix}", bucket.environment()

    def put(self, machine: Machine, key: str, data: bytes) -> None:
        self.bucket.client().put_object(Bucket=BUCKET, Key=f"{self.prefix}/{key}", Body=data)

    def test_the_bucket_answers_as_the_registry_does(self, one: Machine) -> None:
        one.push("web", "1.0.0", "--channel", "stable")
        base = f"{self.bucket.url}/{BUCKET}/{self.prefix}/{API}"
        with requests.get(f"{base}/ns/web", timeout=30) as answer:
            assert [release["release"] for release in answer.json()] == ["1.0.0"]
        with requests.get(f"{base}/ns/web/channels/stable", timeout=30) as answer:
            assert answer.json()["current"] == "1.0.0"
        with requests.get(f"{base}/ns/web/1.0.0/helm/pull", timeout=30) as answer:
            assert answer.content == Path(one.chart("web", "1.0.0")).read_bytes()


class TestAzurite(StoreSuite):
    @pytest.fixture
    def place(self, container: Azure) -> tuple[str, dict[str, str]]:
        self.container = container
        self.prefix = uuid.uuid4().hex
        more = {**container.environment, "AZURE_STORAGE_ENDPOINT": container.endpoint}
        return f"az://{ACCOUNT}/{CONTAINER}/{self.prefix}", more

    def put(self, machine: Machine, key: str, data: bytes) -> None:
        service = AzureStore(
            CONTAINER, account_name=ACCOUNT, account_key=KEY, endpoint=self.container.endpoint,
            client_options={"allow_http": True},
        )  # fmt: skip
        obstore.put(service, f"{self.prefix}/{key}", data)

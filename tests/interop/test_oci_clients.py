"""skopeo, containerd and oras, as people use them, against every kind of host.

A check is a test; what a client cannot do by itself is asserted as that, and stands in
docs/hosts.md.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.containerd import Containerd, containerd
from tests.interop.servers import need
from tests.interop.today import SBOM, Place, Shop, archive_of, manifest_digest

pytestmark = pytest.mark.interop


# -- skopeo -----------------------------------------------------------------------------------


class Skopeo:
    """skopeo for one place; no policy of the machine is asked."""

    def __init__(self, place: Place, home: Path) -> None:
        self.registry = f"docker://{place.registry}"
        self._program = need("skopeo")
        self._home = home

    def __call__(self, command: str, *words: str | Path) -> bytes:
        option = "--src-tls-verify=false" if command in ("copy", "sync") else "--tls-verify=false"
        done = subprocess.run(
            [self._program, "--insecure-policy", command, option, *words], capture_output=True,
            env={"PATH": os.environ["PATH"], "HOME": str(self._home)}, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


@pytest.fixture
def skopeo(place: Place, tmp_path: Path) -> Skopeo:
    return Skopeo(place, tmp_path)


def test_skopeo_inspects_a_manifest_verbatim(skopeo: Skopeo, shop: Shop) -> None:
    raw = skopeo("inspect", "--raw", f"{skopeo.registry}/edge/sealed:1.0.0")
    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == shop.sealed


def test_skopeo_lists_tags(skopeo: Skopeo) -> None:
    said = skopeo("list-tags", f"{skopeo.registry}/edge/web").decode()
    assert '"1.2.0_build.5"' in said and '"2.0.0-rc.1"' in said


def test_skopeo_copies_a_chart_by_tag_and_by_digest(
    skopeo: Skopeo, shop: Shop, tmp_path: Path
) -> None:
    digest = manifest_digest(shop, "edge/web", "1.0.0")
    for reference in (":1.0.0", f"@{digest}"):
        out = tmp_path / reference[1:7]
        skopeo("copy", f"{skopeo.registry}/edge/web{reference}", f"oci:{out}:x")
        archive = hashlib.sha256(shop.archives["web-1.0.0.tgz"]).hexdigest()
        assert (out / f"blobs/sha256/{archive}").read_bytes() == shop.archives["web-1.0.0.tgz"]


def test_skopeo_copies_an_index_of_formats_with_all_that_it_names(
    skopeo: Skopeo, shop: Shop, tmp_path: Path
) -> None:
    source = f"{skopeo.registry}/charts/nginx/formats:1.2.0"
    skopeo("copy", "--all", source, f"oci:{tmp_path}/out:x")
    for kind in ("helm", "kpm", "docker-compose"):
        data = archive_of("charts/nginx", "1.2.0", kind)
        copied = tmp_path / f"out/blobs/sha256/{hashlib.sha256(data).hexdigest()}"
        assert copied.read_bytes() == data


def test_skopeo_copies_another_format(skopeo: Skopeo, tmp_path: Path) -> None:
    skopeo("copy", f"{skopeo.registry}/charts/nginx/kpm:1.2.0", f"oci:{tmp_path}/out:x")


def test_skopeo_syncs_a_repository(skopeo: Skopeo, tmp_path: Path) -> None:
    source = f"{skopeo.registry}/edge/web".removeprefix("docker://")
    skopeo("sync", "--src", "docker", "--dest", "dir", source, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("manifest.json"))) == 5


def test_skopeo_copies_a_signature_by_its_tag(skopeo: Skopeo, shop: Shop, tmp_path: Path) -> None:
    tag = f"{shop.sealed.replace(':', '-')}.sig"
    skopeo("copy", f"{skopeo.registry}/edge/sealed:{tag}", f"oci:{tmp_path}/out:x")
    digest = hashlib.sha256(b"a signature\n").hexdigest()
    assert (tmp_path / f"out/blobs/sha256/{digest}").is_file()


@pytest.mark.parametrize("tag", ["image", "images"])
def test_skopeo_copies_an_image_of_docker_types(skopeo: Skopeo, tmp_path: Path, tag: str) -> None:
    skopeo("copy", "--all", f"{skopeo.registry}/edge/sealed:{tag}", f"dir:{tmp_path}/out")
    assert b"docker.distribution.manifest" in (tmp_path / "out/manifest.json").read_bytes()


def test_skopeo_reads_a_chart_as_no_image(skopeo: Skopeo) -> None:
    with pytest.raises(AssertionError, match="on artifact with type"):
        skopeo("inspect", f"{skopeo.registry}/edge/web:1.0.0")


# -- containerd -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def daemon(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    """A new one for each place: it asks nobody for what it has."""
    with containerd(tmp_path_factory.mktemp("cd")) as daemon:
        yield daemon


@pytest.mark.parametrize(
    "reference",
    ["edge/sealed:image", "edge/sealed:images", "charts/nginx:1.2.0", "charts/nginx/formats:1.2.0"],
)
def test_containerd_fetches_images_and_artifacts(
    daemon: Containerd, place: Place, reference: str
) -> None:
    daemon.mirror(place.registry, place.url)
    daemon.fetch(f"{place.registry}/{reference}")


def test_containerd_fetches_what_it_asks_a_mirror_of_another_host_for(
    daemon: Containerd, place: Place, shop: Shop
) -> None:
    """It adds ``?ns=`` to what it asks."""
    daemon.mirror("other.example", place.url)
    digest = manifest_digest(shop, "edge/web", "1.0.0")
    daemon.fetch(f"other.example/edge/web@{digest}")
    assert "vnd.cncf.helm.config" in daemon.content(digest)


# -- oras -------------------------------------------------------------------------------------

_ORAS = """
import json, sys, oras.client
registry, wanted, *out = sys.argv[1:]
client = oras.client.OrasClient(hostname=registry, insecure=True)
target = f"{registry}/{wanted}"
print(json.dumps(client.pull(target=target, outdir=out[0]) if out else client.get_tags(target)))
"""


def oras(place: Place, *words: str | Path) -> str:
    """The Python client of ORAS."""
    if importlib.util.find_spec("oras") is None:
        assert not os.environ.get("CI"), "oras is missing, and CI must not skip this test"
        pytest.skip("oras is not on this machine: pip install oras")
    command = [sys.executable, "-c", _ORAS, place.registry, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_oras_lists_tags(place: Place) -> None:
    assert oras(place, "edge/web").count('"') == 10


def test_oras_pulls_a_chart(place: Place, shop: Shop, tmp_path: Path) -> None:
    oras(place, "edge/web:1.0.0", tmp_path)
    [found] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found.read_bytes() == shop.archives["web-1.0.0.tgz"]


def test_oras_pulls_another_format_under_its_title(
    place: Place, shop: Shop, tmp_path: Path
) -> None:
    oras(place, "charts/nginx/kpm:1.2.0", tmp_path)
    found = tmp_path / "charts_nginx_1.2.0.tar.gz"
    assert found.read_bytes() == archive_of("charts/nginx", "1.2.0", "kpm")


def test_oras_pulls_what_refers_to_a_chart(place: Place, shop: Shop, tmp_path: Path) -> None:
    digest = manifest_digest(shop, "edge/web", "1.0.0").replace(":", "-")
    text = (shop.project.site / f"v2/edge/web/indexes/{digest}").read_text()
    referrer = text.partition('"digest":"')[2].partition('"')[0]
    oras(place, f"edge/web@{referrer}", tmp_path)
    [found] = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert found.read_bytes() == SBOM

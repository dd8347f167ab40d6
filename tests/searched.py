"""Packages that nobody made, in the words of the field: for the tests and the bench of search."""

from __future__ import annotations

import random

from cnrmirror.views.searchwords import Words, words_of

_THINGS = (
    "redis nginx postgres postgresql mysql mariadb mongodb kafka zookeeper rabbitmq vault consul "
    "etcd grafana prometheus loki tempo thanos alertmanager fluentd fluentbit elasticsearch kibana "
    "logstash opensearch jenkins gitlab gitea harbor keycloak dex oauth wordpress drupal ghost "
    "joomla moodle nextcloud minio ceph longhorn velero cert external sealed ingress gateway istio "
    "linkerd envoy traefik haproxy contour kong airflow spark flink hadoop superset metabase "
    "clickhouse cassandra cockroach tidb influx telegraf chronograf sonarqube nexus artifactory "
    "jaeger zipkin memcached varnish coredns metallb calico cilium flannel rocketchat mattermost "
    "matrix synapse jitsi odoo erpnext magento prestashop redmine phabricator"
)
_PARTS = (
    "operator cluster exporter manager controller proxy server agent ha ui dashboard backup "
    "single sidecar gateway api worker scheduler adapter webhook crds stack lite enterprise edge "
    "sync cache store registry console tools init node router bridge"
)
_TALK = (
    "kubernetes chart helm deploys highly available open source platform service database queue "
    "monitoring metrics logs tracing secrets certificates storage volume snapshots replication "
    "streaming events message broker search engine full text analytics dashboards visualisation "
    "identity access management single sign policy security scanning network load balancer "
    "content system blog shop learning chat meetings files sharing continuous integration delivery "
    "pipelines machine workflows batch processing distributed key value document graph time series "
    "relational memory fast simple scalable production ready lightweight multi tenant cloud native "
    "application framework language runtime images containers packages artifacts mirror automatic "
    "encrypted configuration discovery mesh traffic requests responses clients users teams"
)

THINGS, PARTS, TALK = _THINGS.split(), _PARTS.split(), _TALK.split()


def synthetic(count: int, seed: int = 7) -> dict[str, Words]:
    """``count`` packages: their names are made of known things, their descriptions of talk."""
    chance = random.Random(seed)
    made_up = ["".join(chance.choices("abcdeiklmnoprstu", k=chance.randint(4, 9)))
               for _ in range(4000)]  # fmt: skip
    owners = [f"{chance.choice(made_up)}{chance.choice(['', '-charts', '-io'])}"
              for _ in range(max(8, count // 25))]  # fmt: skip
    found: dict[str, Words] = {}
    while len(found) < count:
        first = chance.choice(THINGS if chance.random() < 0.7 else made_up)
        parts = [first, *chance.choices(PARTS, k=int(chance.choice("00011112")))]
        package = f"{chance.choice(owners)}/{'-'.join(parts)}"
        said = chance.choices(TALK, k=chance.randint(4, 16)) + chance.choices(made_up, k=3)
        chance.shuffle(said)
        tags = [first, *chance.choices(TALK, k=chance.randint(0, 5))]
        release = f"{chance.randint(0, 9)}.{chance.randint(0, 30)}.{chance.randint(0, 12)}"
        found[package] = words_of(package, release, " ".join(said).capitalize(), tags)
    return found

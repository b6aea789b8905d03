# Images in the place of those that cannot be pulled, with what docker-compose.yml relies on: the
# user, the folder of data and its owner, the entry point, wget for health checks. The programs are
# of `make tools`. This is for trials: nobody mends these images.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS base
COPY bin/busybox /usr/local/bin/wget

FROM base AS prometheus
COPY bin/prometheus /bin/prometheus
COPY --chown=65534:65534 empty/ /prometheus/
USER 65534:65534
WORKDIR /prometheus
ENTRYPOINT ["/bin/prometheus"]

FROM base AS alertmanager
COPY bin/alertmanager /bin/alertmanager
COPY --chown=65534:65534 empty/ /alertmanager/
USER 65534:65534
WORKDIR /alertmanager
ENTRYPOINT ["/bin/alertmanager"]

FROM base AS node-exporter
COPY bin/node_exporter /bin/node_exporter
USER 65534:65534
ENTRYPOINT ["/bin/node_exporter"]

FROM base AS postgres-exporter
COPY bin/postgres_exporter /bin/postgres_exporter
USER 65534:65534
ENTRYPOINT ["/bin/postgres_exporter"]

FROM base AS jaeger
COPY bin/jaeger /cmd/jaeger/jaeger-linux
USER 10001:10001
ENTRYPOINT ["/cmd/jaeger/jaeger-linux"]

FROM base AS loki
COPY bin/loki /usr/bin/loki
COPY --chown=10001:10001 empty/ /loki/
USER 10001:10001
ENTRYPOINT ["/usr/bin/loki"]

FROM ${BASE_IMAGE} AS postgres
ADD postgres.tar.gz /
COPY --chown=999:999 empty/ /var/lib/postgresql/
COPY postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
ENV LANG=C.UTF-8
ENTRYPOINT ["docker-entrypoint.sh"]

# syntax=docker/dockerfile:1
# The image, built by Docker: `docker build --tag berth .`. For linux/amd64 and linux/arm64, each built
# on its own kind of machine (or emulated): the plugins are compiled by running the binary.
# `cargo xtask image` builds the same image without Docker: it shares `cargo xtask rootfs` and the last
# stage.

FROM docker.io/library/rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1 AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates musl-tools
WORKDIR /berth
COPY . .
RUN cargo xtask rootfs

FROM scratch
COPY --from=build /berth/target/image/rootfs/ /
LABEL org.opencontainers.image.title="Berth" \
      org.opencontainers.image.description="Fills a Port software catalog from many AWS accounts" \
      org.opencontainers.image.source="https://github.com/berth-sync/berth" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PATH=/usr/bin \
    HOME=/var/lib/berth \
    BERTH_BUNDLED_PLUGINS=/plugins \
    BERTH_PLUGINS=/extra-plugins \
    BERTH_CACHE_DIR=/var/lib/berth/cache \
    BERTH_STATE_DIR=/var/lib/berth/state \
    OCEAN__BIND_ADDRESS=*
# The same as in the image that this one replaces. Any other user works too.
USER 1001:1001
# A berth.toml may lie here.
WORKDIR /etc/berth
# Plugins of one's own; compiled code and what is remembered of the catalog.
VOLUME ["/extra-plugins", "/var/lib/berth"]
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/berth"]
CMD ["run"]

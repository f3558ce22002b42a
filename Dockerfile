# mqd and mqctl on Debian 12. The container listens on its own loopback unless it is told otherwise; to
# reach it from the host, and only from there:
#
#   docker run -d --name mqd -p 127.0.0.1:6480:6480 -v mqd:/var/lib/mqd mqd \
#     --listen 0.0.0.0:6480 --insecure-listen
FROM debian:bookworm-slim AS build
WORKDIR /src
COPY deploy/packages.txt deploy/install-packages.sh deploy/
RUN deploy/install-packages.sh build
COPY . .
RUN cmake --preset release -DMQD_BUILD_TESTS=OFF --log-level=NOTICE \
 && cmake --build build/release --target mqd mqctl \
 && install -D -s -t /out build/release/server/mqd build/release/client/mqctl/mqctl

FROM debian:bookworm-slim
COPY deploy/packages.txt deploy/install-packages.sh /tmp/deploy/
RUN /tmp/deploy/install-packages.sh runtime \
 && rm -rf /tmp/deploy /var/lib/apt/lists/* \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/mqd
COPY --from=build /out/ /usr/local/bin/
USER 10001:10001
ENV MQD_DATA_DIR=/var/lib/mqd MQD_SHUTDOWN_GRACE=8s
VOLUME /var/lib/mqd
EXPOSE 6480 6481
# Docker kills 10 s after SIGTERM; give it --stop-timeout before a longer grace.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["mqctl", "node", "status"]
ENTRYPOINT ["mqd"]

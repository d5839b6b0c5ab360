# Three static binaries and a directory for data, nothing else. `cargo xtask image` puts them into
# target/image and then builds this; nothing is downloaded.
FROM scratch
COPY target/image/ /
ENV PATH=/usr/local/bin
# Any user may write there.
WORKDIR /var/lib/etcd
EXPOSE 2379 2380 4001
ENTRYPOINT ["/usr/local/bin/etcd"]

# A server in a container: built with Rust, shipped on Debian slim without a shell login, run as a user of its own.
#   docker build -t keyark .
#   docker run -it -p 9443:9443 -v keyark-data:/var/lib/keyark keyark
# The certificate must name the host that clients use: -e KEYARK_NAMES=keys.example.org

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --package keyark-cli

FROM debian:bookworm-slim
RUN useradd --system --uid 9443 --home-dir /var/lib/keyark --shell /usr/sbin/nologin keyark \
    && install -d -o keyark -g keyark -m 0700 /var/lib/keyark
COPY --from=build /src/target/release/keyark /usr/local/bin/keyark
COPY LICENSE /usr/share/doc/keyark/LICENSE
ENV KEYARK_DATA=/var/lib/keyark KEYARK_LISTEN=0.0.0.0:9443
USER keyark
WORKDIR /var/lib/keyark
VOLUME /var/lib/keyark
EXPOSE 9443
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/keyark"]
CMD ["serve"]

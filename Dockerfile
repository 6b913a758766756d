# For those who have a Docker engine. `make image` makes the same image without one, and reads what it is to be from here.
FROM rust:1.95.0-bookworm AS build
WORKDIR /waypost
# The image's own toolchain, without the components that rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
COPY . .
# With a target, so that crt-static is not asked of procedural macros, which cannot have it.
RUN target=$(rustc -vV | sed -n 's/^host: //p') \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --profile dist --target "$target" \
    && cp "target/$target/dist/waypost" /binary

# Nothing but the program. The authorities that public registries are trusted by are its own business, not this machine's.
FROM scratch
LABEL org.opencontainers.image.title="Waypost"
LABEL org.opencontainers.image.description="Decides which registry each image of a Pod is pulled from"
LABEL org.opencontainers.image.version="0.1.0"
LABEL org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /binary /waypost
USER 65532:65532
ENTRYPOINT ["/waypost"]

# MASS as one static binary and nothing else: no shell, no package manager, no root user.
# The root file system may be read-only. Build with: docker build --build-arg VERSION=$(git describe --tags --always) -t mass .
ARG GO_VERSION=1.26

FROM golang:${GO_VERSION} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /mass ./cmd/mass

FROM scratch
# TLS to a managed PostgreSQL or Redis needs the public certificate authorities.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /mass /mass
# A number, because Kubernetes' runAsNonRoot cannot check a name.
USER 65532:65532
EXPOSE 8000
ENTRYPOINT ["/mass"]
CMD ["--help"]

# syntax=docker/dockerfile:1
# The catena binary: server, tools and client. docker build -t catena .
FROM golang:1.26-alpine AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/catena ./services/catena

FROM alpine:3.22
RUN adduser -S -D -H -u 10001 catena && mkdir /data && chown catena /data
COPY --from=build /out/catena /usr/local/bin/catena
USER 10001
VOLUME /data
ENV CATENA_DATA=/data CATENA_LISTEN=0.0.0.0:7300 CATENA_ADMIN_LISTEN=0.0.0.0:7301
EXPOSE 7300 7301
ENTRYPOINT ["catena"]
CMD ["serve"]

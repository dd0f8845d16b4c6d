module github.com/catena-im/catena/proto

go 1.26.0

require google.golang.org/protobuf v1.36.12

require github.com/planetscale/vtprotobuf v0.6.0

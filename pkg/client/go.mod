module github.com/catena-im/catena/pkg/client

go 1.26.0

require (
	github.com/catena-im/catena/proto v0.0.0
	github.com/coder/websocket v1.8.15
	go.uber.org/goleak v1.3.0
	google.golang.org/protobuf v1.36.12
	pgregory.net/rapid v1.3.0
)

require github.com/planetscale/vtprotobuf v0.6.0 // indirect

replace github.com/catena-im/catena/proto => ../../proto

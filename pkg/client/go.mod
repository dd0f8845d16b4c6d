module github.com/catena-im/catena/pkg/client

go 1.26.0

require github.com/catena-im/catena/proto v0.0.0

require (
	github.com/coder/websocket v1.8.15 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
	pgregory.net/rapid v1.3.0 // indirect
)

replace github.com/catena-im/catena/proto => ../../proto

// Package imv1 is the wire contract as generated Go: the client protocol, the payloads of the streams and the records
// of the store, each documented field by field in the .proto file beside it. It decides nothing; limits and rules stand
// in pkg/im and in the steps. Only the call of the generated encoders is written by hand.
package imv1

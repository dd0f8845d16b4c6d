//go:build !darwin || cgo

package main

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc/metadata"
)

// ways are the addresses by which clients reach PD and the store. Whoever came by an address of his own, such as that of
// a proxy in his way, is told that one again, and the store's that belongs to it; the others are told where PD is.
type ways struct {
	scheme string
	pd     string            // host:port
	stores map[string]string // host:port of the store, by that of PD
}

// parseWays reads PD=STORE pairs that are separated by commas.
func parseWays(text string) (map[string]string, error) {
	stores := map[string]string{}
	if text == "" {
		return stores, nil
	}
	for _, pair := range strings.Split(text, ",") {
		pd, store, ok := strings.Cut(pair, "=")
		if !ok || pd == "" || store == "" {
			return nil, fmt.Errorf("%q is not PD=STORE, two addresses", pair)
		}
		stores[pd] = store
	}
	return stores, nil
}

// dialled is the address that the client of a request has dialled.
func dialled(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if names := md.Get(":authority"); len(names) > 0 {
		return names[0]
	}
	return ""
}

// url is PD's for the client of a request.
func (w *ways) url(ctx context.Context) string {
	if at := dialled(ctx); w.stores[at] != "" {
		return w.scheme + at
	}
	return w.scheme + w.pd
}

// store is the address of the store for the client of a request; it registered with addr.
func (w *ways) store(ctx context.Context, addr string) string {
	if own := w.stores[dialled(ctx)]; own != "" {
		return own
	}
	return addr
}

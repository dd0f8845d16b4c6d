package client_test

import (
	"testing"

	"github.com/catena-im/catena/pkg/client"
	"github.com/catena-im/catena/pkg/client/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) (client.Store, func() client.Store) {
		store := client.NewMemoryStore()
		return store, func() client.Store { return store }
	})
}

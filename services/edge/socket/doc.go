// Package socket brings what comes on many TCP connections to whom it is for, with few goroutines. A goroutine for each
// connection holds a stack and a buffer while nothing comes, is woken for each piece that does come, and then finds
// nothing on its second look; in a server with many clients that costs as much as what the pieces ask for. A Poller looks
// at all connections at once, as often as its user likes, and reads one after the other. On systems other than Linux, and
// for connections that are not plain TCP, it starts a goroutine for each.
//
// It promises order, one call at a time for each connection, and one end.
package socket

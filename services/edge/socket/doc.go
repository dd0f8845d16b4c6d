// Package socket reads many TCP connections with few goroutines. A goroutine for each holds a stack and a buffer while
// nothing comes, is woken for each piece, and looks a second time in vain. A Poller looks at all at once, as often as its
// user likes, and reads one after the other. It promises each connection order, one call at a time, one end, and writes
// that keep a deadline; not that others are read while a receiver waits. On other systems than Linux, and for connections
// that are not plain TCP, each has a goroutine.
package socket

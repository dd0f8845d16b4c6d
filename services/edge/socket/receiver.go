package socket

import "net"

// Receiver is told what comes on a connection, by one goroutine at a time.
type Receiver interface {
	// Received takes bytes that have come. What comes for others waits meanwhile, so it must not wait itself. It keeps
	// nothing of data, and may change it.
	Received(data []byte)
	// Ended says that nothing more comes: the other side has ended or broken off, or the connection was closed. It is the
	// last call, and may wait.
	Ended()
}

const aloneBytes = 1 << 10 // of the buffer of a connection that has a goroutine

// receiveAlone reads one connection until its end.
func receiveAlone(c net.Conn, r Receiver) {
	defer r.Ended()
	buf := make([]byte, aloneBytes)
	for {
		n, err := c.Read(buf)
		if n > 0 {
			r.Received(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

package edge

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines notes how much time each write has.
type deadlines struct {
	net.Conn
	until time.Time
	set   int
	left  []time.Duration
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.until = t
	d.set++
	return nil
}

func (d *deadlines) Write(p []byte) (int, error) {
	d.left = append(d.left, time.Until(d.until))
	return len(p), nil
}

func TestWritesHaveATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deadlines)
		l := &link{Conn: d, timeout: 8 * time.Second}
		for range 80 {
			if _, err := l.Write([]byte{0x82, 0}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		if _, err := l.Write([]byte{0x82, 0}); err != nil {
			t.Fatal(err)
		}
		for i, left := range d.left {
			if left < l.timeout*3/4 || left > l.timeout {
				t.Errorf("write %d has %v of %v", i, left, l.timeout)
			}
		}
		if d.set != 5 {
			t.Errorf("the deadline was set %d times in 8 s and an hour, want every 2 s", d.set)
		}
		l.hurry()
		if left := time.Until(d.until); left != lingerTime {
			t.Errorf("a write under way has %v left, want %v", left, lingerTime)
		}
		for range 2 {
			time.Sleep(time.Second)
			if _, err := l.Write([]byte{0x82, 0}); err != nil {
				t.Fatal(err)
			}
			if left := d.left[len(d.left)-1]; left != lingerTime {
				t.Errorf("a later write has %v, want %v", left, lingerTime)
			}
		}
	})
}

package fakeserver

// Fault is a breach of the laws that a Server can be told to commit.
type Fault string

// The faults. Those that happen once happen at the tenth chance, or at the second where chances are rare.
const (
	LoseAcked      Fault = "acknowledges a message and does not store it"     // once
	StoreTwice     Fault = "stores a message twice"                           // once
	BreakQueue     Fault = "stores a message before the one queued before it" // once
	ReadersDiffer  Fault = "shows one reader two messages in another order"
	SkipIndex      Fault = "leaves out an index of a conversation chain" // once
	SkipUserIndex  Fault = "leaves out an index of a user chain"         // once
	BreakInbox     Fault = "enters a message late into one user chain"   // once
	LoseInbox      Fault = "leaves a message out of one user chain"      // once
	DriftUnread    Fault = "counts one unread message too many"
	LeakByPull     Fault = "shows hidden messages in pulls"
	LeakByPush     Fault = "pushes a hidden message" // once
	LeakByUnread   Fault = "counts hidden messages as unread"
	LeakByLast     Fault = "shows a hidden message as the last one"
	LeakExistence  Fault = "answers an outsider's pull with an empty page"
	PushOther      Fault = "pushes another body than it stored"                     // once
	AckOther       Fault = "acknowledges a message at the index before"             // once
	ChangeAnswer   Fault = "answers a re-send with another time"                    // always
	StoreOther     Fault = "stores another body than was sent"                      // once
	ReadBack       Fault = "moves a read position back when asked to"               // always
	ForgetLateSend Fault = "stores a message again that is sent again"              // once
	ForgetAtCrash  Fault = "forgets a message when it is killed"                    // once
	RollBackInbox  Fault = "goes back to half of the user chains when it is killed" // once
	LosePushes     Fault = "loses, repeats and delays pushes (lawful)"              // always
	CutOften       Fault = "cuts every connection now and then (lawful)"            // always
)

const (
	firstChance = 10 // of the faults that happen once
	rareChance  = 2
	period      = 5 // of the lawful ones
)

// once reports whether f happens now.
func (s *Server) once(f Fault) bool {
	if s.fault != f || s.fired > 0 {
		return false
	}
	s.eligible++
	if s.eligible < firstChance && (f != ForgetLateSend || s.eligible < rareChance) {
		return false
	}
	s.fired++
	return true
}

// always reports whether f is planted, and counts it.
func (s *Server) always(f Fault) bool {
	if s.fault != f {
		return false
	}
	s.fired++
	return true
}

// changed is told when lists change. The checker compares unread counts at the end of its run, when nothing changes any
// more: a count that was wrong only before has not happened to it.
func (s *Server) changed() {
	if s.fault == LeakByUnread {
		s.fired = 0
	}
}

// often reports whether f happens at this chance: at every period-th.
func (s *Server) often(f Fault) bool {
	if s.fault != f {
		return false
	}
	s.eligible++
	if s.eligible%period != 0 {
		return false
	}
	s.fired++
	return true
}

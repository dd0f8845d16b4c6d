// Package client is the Go SDK of Catena: it keeps one device of one user connected, sends what the device queues and
// brings in what the user's chain holds. It promises: a message whose Enqueue returned is in the Store and is sent, with
// the same client message id, until the server has it or refuses it for good, or Withdraw takes it back; the messages queued for one conversation
// enter its chain in the order queued, whatever is lost, re-sent or reconnected; every entry of the user chain behind
// the stored position comes as one MessageReceived, in UserIndex order, after the Store holds the new position, where a
// process that is killed between the two does not see the event again (a Store that keeps Change.Received has the entry
// all the same); pushes that are lost, repeated or late change nothing of that. Everything inside is bounded: Config.MaxQueued
// messages wait in the outbox (then ErrOutboxFull), Config.Window of them per conversation and as many requests as the
// server allows are in flight, 512 chain entries wait for OnEvent (then pushes are dropped and pulled later), and results
// of 1,024 sends (then sending pauses). It does not promise that a message is sent while Run is not running, and it keeps
// no messages itself: what is worth keeping is the application's, through OnEvent or through a Store of its own.
package client

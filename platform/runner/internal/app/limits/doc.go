// Package limits keeps what may be under way at a time, over all replicas: caps, concurrency keys
// and token buckets, with priorities that age and fair shares.
//
// Every limit lies in a domain (a project), and each domain has one keeper: a replica chosen by
// rendezvous hash over those that live. Each replica has one Node, which keeps the domains that
// are its own and asks the others' keepers for its runs, in batches over the connection between
// replicas. The order of use:
//
//	n := limits.NewNode(limits.Config{Network: …, Tell: func(limits.Decision) {…}})
//	go n.Run(ctx)                   // for as long as the incarnation lives
//	err := n.Restore(ctx, held)     // after a take-over, BEFORE its estate is settled: what journals say is granted
//	n.Acquire(request)              // Tell is called: at once or later, with causes while it waits, then granted
//	n.Release(id)                   // when the end of the start, or its waiver, is durable
//
// A grant is to be journalled with the start that it allows. It belongs to the node that asked
// until Release; a node that lost its lease is thrown away with its grants, which its heir restores.
//
// A new keeper grants nothing before it knows what is held: it asks every replica that lives, and
// waits while there is a dead one whose runs nobody has taken up. Whoever is asked gives the
// domain up if it kept it, so that at no time two keepers grant. Until then, requests wait with the
// cause CauseKeeper.
package limits

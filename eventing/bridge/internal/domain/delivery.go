package domain

import "time"

// Delivery is one event on its way to one subscription. Those of one order follow one another; one that was
// given up holds up nobody.
type Delivery struct {
	Seq          int64
	ID           string // UUIDv7
	Subscription string
	Project      string
	Order        string
	EventID      string
	Type         string
	Event        []byte // JSON format of CloudEvents
	Tries        int    // with the one under way
	LastError    string
	CreatedAt    time.Time
	DiedAt       time.Time // zero = it is on its way
}

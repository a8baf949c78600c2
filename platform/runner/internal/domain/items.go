package domain

import "encoding/json"

// itemList gives the elements of a JSON array one after the other, or any of them, without holding
// more than the array.
type itemList struct {
	list  Value
	marks []int // where every markedItems-th element begins
	count int
	next  int // the element that is read fastest, and where it begins
	at    int
}

const markedItems = 256

// readList finds the elements of a JSON array.
func readList(v Value) (*itemList, *StepError) {
	l := &itemList{list: v}
	at := space(v, 0)
	if at == len(v) || v[at] != '[' || !json.Valid(v) {
		return nil, errf("invalid_input", "a list is wanted, this is %s", describe(v))
	}
	for at = space(v, at+1); v[at] != ']'; l.count++ {
		if l.count%markedItems == 0 {
			l.marks = append(l.marks, at)
		}
		at = l.after(at)
	}
	if l.count > 0 {
		l.at = l.marks[0]
	}
	return l, nil
}

// item gives one element; it aliases the list. It is cheapest for the one after that read before.
func (l *itemList) item(i int) Value {
	if i < 0 || i >= l.count {
		return nil
	}
	if i < l.next || i-l.next > markedItems {
		l.next, l.at = i/markedItems*markedItems, l.marks[i/markedItems]
	}
	for ; l.next < i; l.next++ {
		l.at = l.after(l.at)
	}
	from, end := l.at, skip(l.list, l.at)
	l.next, l.at = i+1, l.after(from)
	return l.list[from:end:end]
}

// after is where the element after the one at a place begins, or the array's end.
func (l *itemList) after(at int) int {
	at = space(l.list, skip(l.list, at))
	if l.list[at] == ',' {
		at = space(l.list, at+1)
	}
	return at
}

func space(v Value, i int) int {
	for i < len(v) && (v[i] == ' ' || v[i] == '\t' || v[i] == '\n' || v[i] == '\r') {
		i++
	}
	return i
}

// skip gives the end of the value that begins at i, in text that is known to be JSON.
func skip(v Value, i int) int {
	for depth := 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			for i++; v[i] != '"'; i++ {
				if v[i] == '\\' {
					i++
				}
			}
		case '[', '{':
			depth++
			continue
		case ']', '}':
			if depth == 0 {
				return i
			}
			depth--
		case ',', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return i
			}
			continue
		default:
			if depth > 0 {
				continue
			}
			for i+1 < len(v) && v[i+1] != ',' && v[i+1] != ']' && v[i+1] != '}' && v[i+1] > ' ' {
				i++
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return i
}

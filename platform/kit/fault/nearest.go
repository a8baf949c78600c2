package fault

// Nearest is the candidate that a misspelt name most likely meant, "" when none is near:
// at most two edits away, and fewer than half of the name's letters (Levenshtein distance).
func Nearest(name string, candidates []string) string {
	best, bestDistance := "", 3
	if name == "" {
		return ""
	}
	for _, c := range candidates {
		if d := distance(name, c, bestDistance); d < bestDistance && d*2 <= max(len(name), 2) {
			best, bestDistance = c, d
		}
	}
	return best
}

func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			diagonal, row[j] = row[j], min(row[j]+1, row[j-1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

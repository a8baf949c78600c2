package local

// Problem puts what the commands of a runtime's build said, when one of them failed, into words.
func Problem(runtime, out string) error {
	switch runtime {
	case "python3":
		return pipError(out)
	case "nodejs":
		if typescriptSaid.MatchString(out) {
			return typescriptProblem(out)
		}
		return npmError(out)
	case "go":
		return goProblem(out)
	}
	if e := network(out, "builder.proxy"); e != nil {
		return e
	}
	return &Error{Kind: "dependency", Message: "a command of the Dockerfile failed:\n" + lastLines(out, 10)}
}

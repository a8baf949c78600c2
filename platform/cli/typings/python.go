package typings

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

const pythonHead = `
from __future__ import annotations

import os
from typing import Any, Dict, List, Literal, Optional, Protocol, TypedDict, Union

__all__ = ["Context", "Inputs", "Outputs"]

_Path = Union[str, "os.PathLike[str]"]
`

const pythonContext = `

class Context(Protocol):
    """The second argument of a handler that takes two."""

    run_id: str
    step: str
    attempt: int
    idempotency_key: str
    deadline: Optional[float]
    workdir: str

    @property
    def cancelled(self) -> bool: ...

    def log(self, message: object, level: str = "info") -> None: ...

    def progress(self, fraction: float, note: str = "") -> None: ...

    def emit(self, value: Dict[str, Any]) -> None: ...
`

// python has every annotation evaluable by Python 3.9, the oldest that actions run on.
func python(a action.Action) string {
	var b strings.Builder
	b.WriteString("# " + mark + "\n")
	b.WriteString(`"""Types of this action's inputs and outputs: from pelton_types import Inputs, Outputs."""` + "\n" + pythonHead)
	// An input is always there: what was not given has its default, or None.
	typedDict(&b, "Inputs", "What the handler gets; files and directories are paths.", "", a.Inputs, func(i action.Item) string {
		if missing(i) {
			return "Optional[" + pythonType(i, false) + "]"
		}
		return pythonType(i, false)
	})
	if a.DynamicOutputs {
		b.WriteString("\n\nOutputs = Dict[str, Any]  # the workflow's inputs decide\n" + pythonContext)
		return b.String()
	}
	const doc = "What the handler returns; files and directories are paths below the working directory."
	plain := func(i action.Item) string {
		if i.Optional {
			return "Optional[" + pythonType(i, true) + "]"
		}
		return pythonType(i, true)
	}
	var always, maybe []action.Item
	for _, i := range a.Outputs {
		if i.Optional {
			maybe = append(maybe, i)
		} else {
			always = append(always, i)
		}
	}
	switch {
	case len(maybe) == 0:
		typedDict(&b, "Outputs", doc, "", always, plain)
	case len(always) == 0:
		typedDict(&b, "Outputs", doc, "total=False", maybe, plain)
	default:
		typedDict(&b, "_Always", "Outputs that are never left out.", "", always, plain)
		typedDict(&b, "_Maybe", "Outputs that can be left out.", "total=False", maybe, plain)
		fmt.Fprintf(&b, "\n\nclass Outputs(_Always, _Maybe):\n    \"\"\"%s\"\"\"\n", doc)
	}
	b.WriteString(pythonContext)
	return b.String()
}

var (
	pythonName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	// Names that a class cannot have as attributes.
	pythonWords = strings.Fields("False None True and as assert async await break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield " +
		// and those that its annotations mean.
		"str int float bool bytes Any Dict List Literal Optional Union _Path")
)

func typedDict(b *strings.Builder, name, doc, options string, items []action.Item, kind func(action.Item) string) {
	asClass := true
	for _, i := range items {
		// In a class, a name with two leading underscores becomes another.
		asClass = asClass && pythonName.MatchString(i.Name) && !slices.Contains(pythonWords, i.Name) && !strings.HasPrefix(i.Name, "__")
	}
	if asClass {
		base := "TypedDict"
		if options != "" {
			base += ", " + options
		}
		fmt.Fprintf(b, "\n\nclass %s(%s):\n    \"\"\"%s\"\"\"\n", name, base, doc)
		for n, i := range items {
			if n == 0 {
				b.WriteString("\n")
			}
			fmt.Fprintf(b, "    %s: %s%s\n", i.Name, kind(i), pythonComment(i))
		}
		return
	}
	fmt.Fprintf(b, "\n\n# %s\n%s = TypedDict(\n    %s,\n    {\n", doc, name, strconv.Quote(name))
	for _, i := range items {
		fmt.Fprintf(b, "        %s: %s,%s\n", strconv.Quote(i.Name), kind(i), pythonComment(i))
	}
	b.WriteString("    },\n")
	if options != "" {
		b.WriteString("    " + options + ",\n")
	}
	b.WriteString(")\n")
}

func pythonComment(i action.Item) string {
	if h := help(i); h != "" {
		return "  # " + h
	}
	return ""
}

func pythonType(i action.Item, output bool) string {
	switch i.Type {
	case "integer":
		return "int"
	case "float":
		return "float"
	case "boolean":
		return "bool"
	case "bytes":
		return "bytes"
	case "json":
		return "Any"
	case "list":
		return "List[Any]"
	case "file", "directory":
		if output {
			return "_Path"
		}
	case "enum":
		if values := quoted(i.EnumValues); len(values) > 0 {
			return "Literal[" + strings.Join(values, ", ") + "]"
		}
	}
	return "str"
}

// quoted are texts as literals that Python and TypeScript read alike.
func quoted(all []string) []string {
	var out []string
	for _, s := range all {
		out = append(out, jsonText(s))
	}
	return out
}

package typings

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/pelton-run/pelton/functions/formats/action"
)

const typescriptTail = `
/** The second argument of a handler that takes two. */
export interface Context {
  readonly runId: string;
  readonly step: string;
  readonly attempt: number;
  readonly idempotencyKey: string;
  readonly deadline: Date | null;
  readonly workdir: string;
  readonly signal: AbortSignal;
  readonly cancelled: boolean;
  log(message: unknown, level?: "debug" | "info" | "warn" | "error"): void;
  progress(fraction: number, note?: string): void;
  emit(value: Record<string, unknown>): void;
}

/** In JavaScript: a comment of @type {import("./pelton_types").Handle} before the handler. */
export type Handle = (inputs: Inputs, ctx: Context) => Outputs | Outputs[] | Promise<Outputs | Outputs[]>;
`

const typescriptSource = `
/** Of an event: a second one of the same key finds the first one's run; the cursor comes back after a restart. */
export interface EventOptions {
  key?: string | number;
  cursor?: unknown;
}

/** The first argument of a source. */
export interface Service {
  /** The last durable one, null at first. */
  readonly cursor: unknown;
  readonly signal: AbortSignal;
  readonly cancelled: boolean;
  /** Starts a run, and gives its id once the run is durable. */
  createRun(data: Outputs, options?: EventOptions): Promise<string>;
  createRunError(message?: string): void;
  getOutputDefinitions(): Record<string, unknown>[];
  log(message: unknown, level?: "debug" | "info" | "warn" | "error"): void;
}

/** In JavaScript: a comment of @type {import("./pelton_types").Run} before the function run. */
export type Run = (service: Service, inputs: Inputs) => Promise<void>;
`

func typescript(a action.Action) string {
	var b strings.Builder
	b.WriteString("// " + mark + "\n")
	inputs := func(i action.Item) (string, string) {
		if missing(i) {
			return "", typescriptType(i, false) + " | null"
		}
		return "", typescriptType(i, false)
	}
	outputs := func(i action.Item) (string, string) {
		if i.Optional {
			return "?", typescriptType(i, true) + " | null"
		}
		return "", typescriptType(i, true)
	}
	structure(&b, "Inputs", "What the handler gets; files and directories are paths.", a.Inputs, inputs)
	if a.DynamicOutputs {
		b.WriteString("\n/** The workflow's inputs decide. */\nexport type Outputs = Record<string, unknown>;\n")
	} else {
		structure(&b, "Outputs", "What the handler returns; files and directories are paths below the working directory.", a.Outputs, outputs)
	}
	if a.Kind == "Source" {
		b.WriteString(typescriptSource)
	} else {
		b.WriteString(typescriptTail)
	}
	return b.String()
}

var typescriptName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func structure(b *strings.Builder, name, doc string, items []action.Item, kind func(action.Item) (mark, text string)) {
	fmt.Fprintf(b, "\n/** %s */\nexport interface %s {\n", doc, name)
	for _, i := range items {
		if h := help(i); h != "" {
			fmt.Fprintf(b, "  /** %s */\n", h)
		}
		field := i.Name
		if !typescriptName.MatchString(field) {
			field = jsonText(field)
		}
		optional, text := kind(i)
		fmt.Fprintf(b, "  %s%s: %s;\n", field, optional, text)
	}
	b.WriteString("}\n")
}

func typescriptType(i action.Item, output bool) string {
	switch i.Type {
	case "integer", "float":
		return "number"
	case "boolean":
		return "boolean"
	case "bytes":
		return "Uint8Array"
	case "json":
		if output {
			return "unknown"
		}
		return "any"
	case "list":
		if output {
			return "unknown[]"
		}
		return "any[]"
	case "enum":
		if values := quoted(i.EnumValues); len(values) > 0 {
			return strings.Join(values, " | ")
		}
	}
	return "string"
}

// jsonText is a text as a literal; Python and TypeScript read those of JSON as JSON does.
func jsonText(s string) string {
	text, err := json.Marshal(s)
	if err != nil { // a string always encodes
		return `""`
	}
	return string(text)
}

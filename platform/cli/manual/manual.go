// Package manual writes the reference of a program from its commands, so that the two cannot differ.
package manual

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Markdown writes every command of the tree, in its order, with its usage, examples and flags.
func Markdown(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Generated from the commands: go test ./platform/cli -run TestManual -update -->\n\n", root.Name())
	b.WriteString(prose(root))
	examples(&b, root)
	b.WriteString("Flags of every command:\n\n```text\n" + root.PersistentFlags().FlagUsages() + "```\n\n")
	index(&b, root)
	for _, c := range root.Commands() {
		section(&b, c, 2)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// prose is the long description, with what is indented in it as code.
func prose(c *cobra.Command) string {
	text := c.Long
	if text == "" {
		text = c.Short + "."
	}
	var b strings.Builder
	code := false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		if indented := strings.HasPrefix(line, "  "); indented != code && strings.TrimSpace(line) != "" {
			b.WriteString("```")
			if indented {
				b.WriteString("text")
			}
			b.WriteString("\n")
			if code = indented; !code {
				b.WriteString("\n")
			}
		} else if code && strings.TrimSpace(line) == "" {
			b.WriteString("```\n")
			code = false
		}
		b.WriteString(line)
	}
	if code {
		b.WriteString("```\n")
	}
	return b.String() + "\n"
}

func examples(b *strings.Builder, c *cobra.Command) {
	if c.Example == "" {
		return
	}
	b.WriteString("```sh\n")
	for line := range strings.Lines(strings.TrimRight(c.Example, "\n") + "\n") {
		b.WriteString(strings.TrimPrefix(line, "  "))
	}
	b.WriteString("```\n\n")
}

func index(b *strings.Builder, root *cobra.Command) {
	b.WriteString("| command | what it does |\n|---|---|\n")
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasSubCommands() {
			anchor := strings.ReplaceAll(c.CommandPath(), " ", "-")
			fmt.Fprintf(b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), anchor, strings.ReplaceAll(c.Short, "|", "\\|"))
		}
		for _, s := range c.Commands() {
			walk(s)
		}
	}
	for _, c := range root.Commands() {
		walk(c)
	}
	b.WriteString("\n")
}

func section(b *strings.Builder, c *cobra.Command, level int) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	fmt.Fprintf(b, "%s %s\n\n%s", strings.Repeat("#", level), c.CommandPath(), prose(c))
	if !c.HasSubCommands() {
		fmt.Fprintf(b, "```text\n%s\n```\n\n", c.UseLine())
		examples(b, c)
	}
	if text := c.NonInheritedFlags().FlagUsages(); text != "" {
		b.WriteString("```text\n" + text + "```\n\n")
	}
	for _, s := range c.Commands() {
		section(b, s, level+1)
	}
}

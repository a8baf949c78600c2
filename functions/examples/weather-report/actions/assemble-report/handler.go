// Package action assembles pictures into a page.
package action

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"os"
)

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{.Title}}</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 56rem; color: #1c2b33; }
  h1 { font-weight: 600; letter-spacing: -0.02em; }
  figure { margin: 2rem 0; }
  svg { max-width: 100%; height: auto; }
</style>
<h1>{{.Title}}</h1>
{{range .Pictures}}<figure>{{.}}</figure>
{{end}}`))

// Handle writes the page into the working directory.
func Handle(ctx context.Context, in Input) (Output, error) {
	if len(in.Pictures) == 0 {
		return Output{}, errors.New("there are no pictures")
	}
	pictures := make([]template.HTML, 0, len(in.Pictures))
	for i, p := range in.Pictures {
		text, ok := p.(string)
		if !ok {
			return Output{}, fmt.Errorf("picture %d is no text", i)
		}
		pictures = append(pictures, template.HTML(text))
	}
	f, err := os.Create("report.html")
	if err != nil {
		return Output{}, err
	}
	defer f.Close()
	if err := page.Execute(f, map[string]any{"Title": in.Title, "Pictures": pictures}); err != nil {
		return Output{}, err
	}
	fmt.Printf("%s: %d pictures\n", in.Title, len(pictures))
	return Output{Html: f.Name()}, f.Close()
}

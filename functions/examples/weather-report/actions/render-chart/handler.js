import * as vega from "vega";
import { compile } from "vega-lite";

export const handle = async ({ spec }) => {
  const chart = compile({
    $schema: "https://vega.github.io/schema/vega-lite/v5.json",
    title: spec.title,
    width: 720,
    height: 220,
    data: { values: spec.values },
    transform: [{ fold: spec.series, as: ["series", "value"] }],
    mark: { type: spec.series.length > 1 ? "line" : "bar", tooltip: false },
    encoding: {
      x: { field: "month", type: "temporal", timeUnit: "yearmonth", title: null },
      y: { field: "value", type: "quantitative", title: spec.unit },
      color: spec.series.length > 1 ? { field: "series", type: "nominal", title: null } : { value: "#2f6f8f" },
    },
  });
  const view = new vega.View(vega.parse(chart.spec), { renderer: "none" });
  const svg = await view.toSVG();
  view.finalize();
  console.log(`${spec.title}: ${svg.length} characters of SVG`);
  return { svg, title: spec.title };
};

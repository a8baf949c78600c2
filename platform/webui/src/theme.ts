import { createTheme, type MantineColorsTuple } from "@mantine/core";

// The one file of design tokens: colours, type and spacing of the whole application.

const water: MantineColorsTuple = [
  "#e3fafc",
  "#c5f2f7",
  "#99e6ee",
  "#66d5e1",
  "#3bc3d2",
  "#1aaebf",
  "#0c93a5",
  "#0b7a8a",
  "#0d626f",
  "#0d4f5a",
];

export const theme = createTheme({
  primaryColor: "water",
  primaryShade: { light: 7, dark: 5 },
  colors: { water },
  fontFamily: "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif",
  fontFamilyMonospace: "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
  defaultRadius: "md",
  headings: {
    fontWeight: "650",
    sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.15rem" }, h3: { fontSize: "1rem" } },
  },
  components: {
    Table: { defaultProps: { verticalSpacing: "xs", highlightOnHover: true } },
    Tooltip: { defaultProps: { openDelay: 300, withArrow: true } },
    Code: { defaultProps: { fz: "sm" } },
  },
});

/** Colour of a state, for badges, bars and nodes. */
export const stateColor: Record<string, string> = {
  queued: "gray",
  pending: "gray",
  building: "blue",
  deploying: "blue",
  running: "blue",
  started: "blue",
  waiting: "yellow",
  paused: "yellow",
  cancelling: "orange",
  undoing: "orange",
  caught: "yellow",
  completed: "teal",
  succeeded: "teal",
  finished: "teal",
  ok: "teal",
  live: "teal",
  failed: "red",
  error: "red",
  lost: "orange",
  skipped: "gray",
  cancelled: "gray",
  stopped: "gray",
  done: "teal",
};

/** Colours of parts of a whole, of which the last is for the rest. */
export const partColor = ["water.6", "indigo.5", "grape.5", "orange.5", "lime.6", "pink.5", "gray.5"].map(
  (c) => `var(--mantine-color-${c.replace(".", "-")})`,
);

/** Colour of a phase in a run's timeline, by what comes to its end. */
export const phaseColor: Record<string, string> = {
  queued: "var(--mantine-color-gray-4)",
  scheduled: "var(--mantine-color-gray-5)",
  pulled: "var(--mantine-color-grape-4)",
  booted: "var(--mantine-color-violet-4)",
  loaded: "var(--mantine-color-indigo-4)",
  started: "var(--mantine-color-cyan-4)",
  running: "var(--mantine-color-teal-5)",
  failed: "var(--mantine-color-red-5)",
  ending: "var(--mantine-color-teal-2)",
};

import { Group, Text, Tooltip } from "@mantine/core";
import { IconArrowBackUp } from "@tabler/icons-react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import type { Run, StepRun } from "../../api/types";
import { StateBadge } from "../../components/basics";
import { counted, duration, millis, place } from "../../components/format";
import { phaseColor } from "../../theme";
import { keyOf, segments, span } from "./state";
import { cause, countdown } from "./waits";

const phaseWords: Record<string, string> = {
  queued: "waiting for its turn",
  scheduled: "waiting for an instance",
  pulled: "fetching the image",
  booted: "starting the instance",
  loaded: "loading the code",
  started: "preparing the inputs",
  running: "running",
  failed: "running, then failed",
  ending: "taking the outputs, clearing up",
};

/** One row per step run, each with a bar of its attempts' phases on the run's span of time. */
export function Timeline(props: { run: Run; now: number; chosen?: string; choose: (key: string) => void }) {
  const steps = props.run.steps ?? [];
  const window = span(props.run, props.now);
  const box = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: steps.length,
    getScrollElement: () => box.current,
    estimateSize: () => 34,
    overscan: 12,
  });
  return (
    <div className="panel" style={{ padding: 6 }}>
      <div ref={box} style={{ maxHeight: 420, overflow: "auto" }}>
        <div style={{ height: rows.getTotalSize(), position: "relative" }}>
          {rows.getVirtualItems().map((v) => {
            const s = steps[v.index]!;
            const key = keyOf(s.step, s.item_path);
            return (
              <div
                key={key}
                style={{ position: "absolute", top: 0, left: 0, right: 0, transform: `translateY(${v.start}px)` }}
              >
                <Row
                  step={s}
                  window={window}
                  now={props.now}
                  chosen={props.chosen === key}
                  choose={() => props.choose(key)}
                />
              </div>
            );
          })}
        </div>
      </div>
      <Legend run={props.run} now={props.now} />
    </div>
  );
}

function Row({
  step: s,
  window: w,
  now,
  chosen,
  choose,
}: {
  step: StepRun;
  window: { from: number; to: number };
  now: number;
  chosen: boolean;
  choose: () => void;
}) {
  const total = w.to - w.from;
  const from = s.started_at ?? s.attempts[0]?.started_at;
  const to = s.finished_at ? millis(s.finished_at) : s.state === "running" ? now : undefined;
  return (
    <div
      className="steprow"
      data-chosen={chosen}
      data-step={keyOf(s.step, s.item_path)}
      role="button"
      tabIndex={0}
      onClick={choose}
      onKeyDown={(e) => (e.key === "Enter" || e.key === " ") && choose()}
    >
      <Group gap={6} wrap="nowrap">
        <StateBadge
          state={s.caught && s.state === "failed" ? "caught" : s.state}
          title={s.wait ? cause(s.wait, s.reason) : s.reason}
        />
        {s.undoes && <IconArrowBackUp size={14} aria-label={`takes ${s.undoes} back`} style={{ flex: "none" }} />}
        <Text size="sm" truncate title={s.title ?? s.step}>
          {s.title || s.step}
          {place(s.item_path)}
        </Text>
      </Group>
      <div className="bars">
        {s.attempts.length === 0 && s.items >= 0 && from && to && (
          <span
            className="whole"
            style={{
              left: `${(100 * (millis(from) - w.from)) / total}%`,
              width: `${Math.max(0, (100 * (to - millis(from))) / total)}%`,
            }}
          />
        )}
        {s.attempts.flatMap((a) =>
          segments(a, now).map((g) => (
            <Tooltip
              key={`${a.number}${g.phase}${g.from}`}
              label={`${s.attempts.length > 1 ? `attempt ${a.number}: ` : ""}${phaseWords[g.phase] ?? g.phase} ${duration(g.to - g.from)}`}
            >
              <span
                style={{
                  left: `${(100 * (g.from - w.from)) / total}%`,
                  width: `${Math.max(0, (100 * (g.to - g.from)) / total)}%`,
                  background: phaseColor[g.phase] ?? "gray",
                }}
              />
            </Tooltip>
          )),
        )}
      </div>
      <Text size="sm" ta="right" c={s.state === "skipped" ? "dimmed" : undefined}>
        {s.items >= 0 && s.attempts.length === 0
          ? counted(s.items, "item")
          : from && to
            ? duration(to - millis(from))
            : s.wait
              ? (countdown(s.wait, now)?.replace(/^\S+ (on|up) /, "") ?? "")
              : ""}
      </Text>
    </div>
  );
}

function Legend({ run, now }: { run: Run; now: number }) {
  const used = new Set(
    (run.steps ?? []).slice(0, 200).flatMap((s) => s.attempts.flatMap((a) => segments(a, now).map((g) => g.phase))),
  );
  const known = Object.keys(phaseWords).filter((p) => used.has(p));
  if (known.length === 0) return null;
  return (
    <Group px={10} pt={6} pb={4} style={{ columnGap: 16, rowGap: 2 }}>
      {known.map((p) => (
        <Group key={p} gap={5}>
          <span
            style={{ width: 10, height: 10, borderRadius: 3, background: phaseColor[p], display: "inline-block" }}
          />
          <Text size="xs" c="dimmed">
            {phaseWords[p]}
          </Text>
        </Group>
      ))}
    </Group>
  );
}

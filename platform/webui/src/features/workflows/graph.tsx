import { Text, Tooltip, useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { IconCheck, IconExternalLink } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import {
  Background,
  Controls,
  Handle,
  MarkerType,
  type Node,
  type NodeProps,
  Position,
  ReactFlow,
} from "@xyflow/react";
import { memo, useMemo } from "react";
import type { Definition } from "../../api/types";
import { stateColor } from "../../theme";
import { effectIcon, kindIcon, markIcon, triggerIcon } from "./icons";
import { arrange, nodeWidth, type Way, wayOf } from "./layout";
import { does, marks as marksOf, type Setting } from "./words";

/** What a node shows beside its name: in a run, how far its step is. */
export interface Mark {
  state?: string;
  note?: string;
  /** the run of a sub-workflow */
  child?: string;
}

type Data = {
  project: string;
  title: string;
  sub: string;
  kind: string;
  about: string;
  settings: Setting[];
  effect?: string;
  workflow?: string;
  mark?: Mark;
  way?: Way;
  chosen: boolean;
  upright: boolean;
};

const Box = memo(function Box({ data }: NodeProps<Node<Data>>) {
  const color = data.mark?.state ? `var(--mantine-color-${stateColor[data.mark.state] ?? "gray"}-6)` : undefined;
  const width = nodeWidth[data.kind === "trigger" || data.kind === "result" ? data.kind : "step"];
  const Icon = data.kind === "trigger" ? triggerIcon(data.sub) : kindIcon(data.kind);
  return (
    <div
      className="node"
      data-chosen={data.chosen}
      data-kind={data.kind}
      data-way={data.way}
      style={{ "--node": color, "--node-width": `${width}px` } as React.CSSProperties}
    >
      {data.kind !== "trigger" && (
        <Handle type="target" position={data.upright ? Position.Top : Position.Left} style={{ opacity: 0 }} />
      )}
      <div className="nodehead">
        <Tooltip label={data.about}>
          <Icon size={15} stroke={1.7} aria-label={data.about} />
        </Tooltip>
        <Text size="sm" fw={600} truncate title={data.title}>
          {data.title}
        </Text>
        <OtherWorkflow data={data} />
        {data.mark?.state === "completed" && (
          <IconCheck size={14} stroke={2.4} color="var(--mantine-color-teal-6)" aria-hidden />
        )}
      </div>
      <Text size="xs" c="dimmed" truncate title={data.mark?.note ?? data.sub}>
        {data.mark?.note ?? data.sub}
      </Text>
      {data.settings.length > 0 && (
        <div className="nodemarks">
          {data.settings.map((s) => {
            const M = s.kind === "effect" ? effectIcon(data.effect) : markIcon[s.kind];
            return (
              <Tooltip key={s.kind} label={`${s.name}: ${s.words}`} multiline maw={340} openDelay={100}>
                <span data-mark={s.kind} tabIndex={0} aria-label={`${s.name}: ${s.words}`}>
                  <M size={14} stroke={1.7} />
                </span>
              </Tooltip>
            );
          })}
        </div>
      )}
      {data.kind !== "result" && (
        <Handle type="source" position={data.upright ? Position.Bottom : Position.Right} style={{ opacity: 0 }} />
      )}
    </div>
  );
});

/** The way to what a sub-workflow's step runs: in a run its run, else the workflow. */
function OtherWorkflow({ data }: { data: Data }) {
  if (!data.workflow) return null;
  const icon = <IconExternalLink size={14} stroke={1.7} />;
  const { project, workflow, mark } = data;
  const words = mark?.child ? `open the run of ${workflow}` : `open ${workflow}`;
  const props = { className: "nodelink", "aria-label": words, onClick: (e: React.MouseEvent) => e.stopPropagation() };
  return (
    <Tooltip label={words}>
      {mark?.child ? (
        <Link to="/$project/runs/$id" params={{ project, id: mark.child }} {...props}>
          {icon}
        </Link>
      ) : (
        <Link to="/$project/workflows/$name" params={{ project, name: workflow }} {...props}>
          {icon}
        </Link>
      )}
    </Tooltip>
  );
}

const nodeTypes = { box: Box };

const aboutKind: Record<string, string> = {
  action: "runs an action",
  workflow: "runs another workflow",
  wait: "waits",
  switch: "chooses a way",
  collect: "gathers what was fanned out",
  result: "what a run gives",
};

const edgeColor: Record<Way | "none", string> = {
  taken: "var(--mantine-color-teal-6)",
  left: "light-dark(var(--mantine-color-gray-4), var(--mantine-color-dark-4))",
  open: "var(--xy-edge-stroke)",
  none: "var(--xy-edge-stroke)",
};

/** The graph of a definition, to look at; the chosen step is marked. With marks it is that of a
 * run: the ways that it took stand out. */
export function WorkflowGraph(props: {
  project: string;
  definition: Definition;
  marks?: Record<string, Mark>;
  chosen?: string;
  choose?: (step: string) => void;
}) {
  const { project, definition: d, marks, chosen, choose } = props;
  const scheme = useComputedColorScheme("light");
  const { ref, width } = useElementSize();
  const upright = width > 0 && width < 640;
  const placed = useMemo(() => arrange(d, upright ? "TB" : "LR"), [d, upright]);
  const zoom = Math.min(1, width > 0 ? (width - 40) / placed.width : 1);
  const nodes = useMemo<Node<Data>[]>(() => {
    const triggers = new Map(d.triggers.map((t) => [`trigger:${t.id}`, t]));
    const steps = new Map(d.steps.map((s) => [s.id, s]));
    return placed.nodes.map((n) => {
      const t = triggers.get(n.id);
      const s = steps.get(n.id);
      const kind = s ? (s.kind === "wait" ? waitKind(s) : s.kind) : n.kind;
      const data: Data = {
        project,
        kind,
        title: t?.id ?? s?.title ?? s?.id ?? "result",
        sub: t?.uses ?? (s ? does(s) : d.result.join(", ")),
        about: t ? `trigger: ${t.uses}` : s ? (aboutKind[s.kind] ?? "") : aboutKind.result!,
        settings: s ? marksOf(s) : [],
        effect: s?.effect,
        workflow: s?.kind === "workflow" ? s.workflow : undefined,
        mark: marks?.[n.id],
        way: marks && (marks[n.id]?.state === "skipped" || (t && !marks[n.id])) ? "left" : undefined,
        chosen: chosen === n.id,
        upright,
      };
      return { id: n.id, type: "box", position: { x: n.x, y: n.y }, data, draggable: false, connectable: false };
    });
  }, [d, placed, marks, chosen, project, upright]);
  const edges = useMemo(
    () =>
      placed.wires.map((w) => {
        const way = marks ? wayOf(marks[w.from]?.state, marks[w.to]?.state) : "none";
        const color = edgeColor[way];
        return {
          id: `${w.from}>${w.to}`,
          className: `way-${way}`,
          source: w.from,
          target: w.to,
          label: w.label,
          zIndex: way === "taken" ? 1 : 0,
          markerEnd: { type: MarkerType.ArrowClosed, color },
          style: {
            stroke: color,
            strokeWidth: way === "taken" ? 2 : 1.2,
            strokeDasharray: way === "left" ? "4 4" : undefined,
          },
          labelStyle: { fontWeight: way === "taken" ? 700 : 400, opacity: way === "left" ? 0.55 : 1 },
          animated: marks?.[w.to]?.state === "running",
        };
      }),
    [placed, marks],
  );
  return (
    <div ref={ref} className="panel graph" style={{ height: Math.min(upright ? 620 : 460, placed.height * zoom + 84) }}>
      <ReactFlow
        key={`${upright} ${width > 0}`} // fits itself into the place that it is given at first
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        colorMode={scheme}
        fitView
        fitViewOptions={{ padding: 0.04, maxZoom: 1 }}
        minZoom={0.2}
        nodesDraggable={false}
        nodesConnectable={false}
        zoomOnScroll={false}
        preventScrolling={false}
        onNodeClick={(_, n) => choose && !n.id.includes(":") && choose(n.id)}
      >
        <Background gap={20} />
        <Controls showInteractive={false} orientation="horizontal" />
      </ReactFlow>
    </div>
  );
}

/** Each kind of waiting has an icon of its own. */
function waitKind(s: Definition["steps"][number]): string {
  const w = s.wait;
  return w?.signal ? "signal" : w?.approval ? "approval" : w?.until !== undefined ? "until" : "wait";
}

import { Badge, Group, Text, useComputedColorScheme } from "@mantine/core";
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
import { arrange } from "./layout";
import { does, marks as marksOf } from "./words";

/** What a node shows beside its name: in a run, how far its step is. */
export interface Mark {
  state?: string;
  note?: string;
}

type Data = { title: string; sub: string; kind: string; tags: string[]; mark?: Mark; chosen: boolean };

const Box = memo(function Box({ data }: NodeProps<Node<Data>>) {
  const color = data.mark?.state ? `var(--mantine-color-${stateColor[data.mark.state] ?? "gray"}-6)` : undefined;
  return (
    <div
      className="node"
      data-chosen={data.chosen}
      title={`${data.title}: ${data.mark?.note ?? data.sub}`}
      style={color ? ({ "--node": color } as React.CSSProperties) : undefined}
    >
      {data.kind !== "trigger" && <Handle type="target" position={Position.Left} style={{ opacity: 0 }} />}
      <Group gap={4} justify="space-between" wrap="nowrap">
        <Text size="sm" fw={600} truncate>
          {data.title}
        </Text>
        {data.tags.map((t) => (
          <Badge key={t} size="xs" variant="outline" color="gray" tt="none" style={{ flex: "none" }}>
            {t}
          </Badge>
        ))}
      </Group>
      <Text size="xs" c="dimmed" truncate>
        {data.mark?.note ?? data.sub}
      </Text>
      {data.kind !== "result" && <Handle type="source" position={Position.Right} style={{ opacity: 0 }} />}
    </div>
  );
});

const nodeTypes = { box: Box };

/** The graph of a definition, to look at; the chosen step is marked. */
export function WorkflowGraph(props: {
  definition: Definition;
  marks?: Record<string, Mark>;
  chosen?: string;
  choose?: (step: string) => void;
}) {
  const { definition: d, marks, chosen, choose } = props;
  const scheme = useComputedColorScheme("light");
  const placed = useMemo(() => arrange(d), [d]);
  const nodes = useMemo<Node<Data>[]>(() => {
    const triggers = new Map(d.triggers.map((t) => [`trigger:${t.id}`, t]));
    const steps = new Map(d.steps.map((s) => [s.id, s]));
    return placed.nodes.map((n) => {
      const t = triggers.get(n.id);
      const s = steps.get(n.id);
      const data: Data = {
        kind: n.kind,
        title: t?.id ?? s?.title ?? s?.id ?? "result",
        sub: t?.uses ?? (s ? does(s) : d.result.join(", ")),
        tags: s ? marksOf(s) : n.kind === "trigger" ? ["trigger"] : [],
        mark: marks?.[n.id],
        chosen: chosen === n.id,
      };
      return { id: n.id, type: "box", position: { x: n.x, y: n.y }, data, draggable: false, connectable: false };
    });
  }, [d, placed, marks, chosen]);
  const edges = useMemo(
    () =>
      placed.wires.map((w) => ({
        id: `${w.from}>${w.to}`,
        source: w.from,
        target: w.to,
        label: w.label,
        markerEnd: { type: MarkerType.ArrowClosed },
        animated: marks?.[w.to]?.state === "running",
      })),
    [placed, marks],
  );
  return (
    <div className="panel graph" style={{ height: Math.min(460, placed.height + 110) }}>
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={nodeTypes}
        colorMode={scheme}
        fitView
        fitViewOptions={{ padding: 0.12, maxZoom: 1 }}
        minZoom={0.2}
        nodesDraggable={false}
        nodesConnectable={false}
        zoomOnScroll={false}
        preventScrolling={false}
        onNodeClick={(_, n) => choose && !n.id.includes(":") && choose(n.id)}
      >
        <Background gap={20} />
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  );
}

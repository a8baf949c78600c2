import { Alert, Button, Drawer, Group, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { call, path, query, textOf } from "../../api/client";
import { build } from "../../api/queries";
import { listen } from "../../api/stream";
import type { Build } from "../../api/types";
import { Ago, Failure, StateBadge, Waiting } from "../../components/basics";
import { useMay } from "../../components/frame";
import { duration, short } from "../../components/format";

const ended = (b: Build) => b.state !== "queued" && b.state !== "building";

/** One build: how it went, and its log as it grows. */
export function BuildDrawer({ project, id, close }: { project: string; id: string; close: () => void }) {
  const q = useQuery(build(project, id));
  return (
    <Drawer
      opened
      onClose={close}
      position="right"
      size="xl"
      title={<Text fw={600}>Build of {q.data?.action ?? "…"}</Text>}
    >
      {q.isPending ? <Waiting /> : q.isError ? <Failure error={q.error} /> : <Shown project={project} build={q.data} />}
    </Drawer>
  );
}

function Shown({ project, build: b }: { project: string; build: Build }) {
  const may = useMay("developer");
  const queries = useQueryClient();
  const cancel = useMutation({
    mutationFn: () => call("POST", path("repository", project, "builds", b.id, "cancel")),
    onError: (e) => notifications.show({ color: "red", title: "Not cancelled", message: textOf(e) }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["repository", project] }),
  });
  const phases = Object.entries(b.phases_ms ?? {});
  return (
    <Stack>
      <Group gap="sm">
        <StateBadge state={b.state} />
        <Text size="sm" c="dimmed">
          {b.path} · <Ago at={b.created_at} /> · {short(b.build)}
        </Text>
        {may && !ended(b) && (
          <Button
            size="compact-xs"
            color="red"
            variant="light"
            loading={cancel.isPending}
            onClick={() => cancel.mutate()}
          >
            Cancel
          </Button>
        )}
      </Group>
      {b.message && (
        <Alert color="red" title={b.host ? `${b.host} could not be reached` : "It failed"} role="alert">
          <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
            {b.file && `${b.file}${b.line ? `:${b.line}` : ""}: `}
            {b.message}
            {b.setting && `\nThe setting is ${b.setting}.`}
          </Text>
        </Alert>
      )}
      {b.notes.map((n) => (
        <Text key={n} size="sm" c="dimmed">
          {n}
        </Text>
      ))}
      {phases.length > 0 && (
        <Group gap="md">
          {phases.map(([name, ms]) => (
            <Text key={name} size="sm">
              {name}{" "}
              <Text span c="dimmed">
                {duration(ms)}
              </Text>
            </Text>
          ))}
        </Group>
      )}
      <BuildLog project={project} id={b.id} />
    </Stack>
  );
}

function BuildLog({ project, id }: { project: string; id: string }) {
  const [lines, setLines] = useState<string[]>([]);
  const box = useRef<HTMLDivElement>(null);
  const queries = useQueryClient();
  useEffect(() => {
    setLines([]);
    const url = query(path("repository", project, "builds", id, "log"), { follow: true });
    return listen<{ lines?: string[]; state?: string }>(url, {
      // Every connection begins with the first line.
      live: (up) => up && setLines([]),
      event: (e) => {
        if (e.lines) setLines((old) => [...old, ...e.lines!]);
        else void queries.invalidateQueries({ queryKey: ["repository", project] });
      },
      last: (e) => e.state !== undefined,
    });
  }, [project, id, queries]);
  useEffect(() => {
    const b = box.current;
    if (b) b.scrollTop = b.scrollHeight;
  }, [lines]);
  if (lines.length === 0)
    return (
      <Text c="dimmed" size="sm">
        Nothing was printed.
      </Text>
    );
  return (
    <div className="log" ref={box} style={{ height: "60vh" }}>
      {lines.slice(-5000).map((l, i) => (
        <div key={i} className="line">
          {l}
        </div>
      ))}
    </div>
  );
}

import { Alert, Button, Group, List, Loader, Menu, Modal, Progress, Stack, Text } from "@mantine/core";
import {
  IconCheck,
  IconChevronDown,
  IconPlayerPlay,
  IconPlayerStop,
  IconRefresh,
  IconTrash,
} from "@tabler/icons-react";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, textOf } from "../../api/client";
import { bulks } from "../../api/queries";
import { filterOf, type RunSearch, words } from "../../api/search";
import type { Bulk, BulkKind } from "../../api/types";
import { Failure } from "../../components/basics";
import { counted } from "../../components/format";
import { useMay } from "../../components/frame";
import { ended } from "./state";

export const bulkWords: Record<Bulk["kind"], { verb: string; did: string; about: string; color?: string }> = {
  cancel: {
    verb: "Cancel",
    did: "cancelled",
    about: "Each is told to stop; what it has done is taken back where its steps say how.",
    color: "red",
  },
  retry: {
    verb: "Retry",
    did: "retried",
    about: "For each, a new run goes on where it failed, on the live revision. What has finished is kept.",
  },
  again: {
    verb: "Run again",
    did: "run again",
    about: "For each, a new run starts with the same inputs, on the live revision.",
  },
  delete: {
    verb: "Delete",
    did: "deleted",
    about: "Ended runs go for good, with their inputs, results and logs.",
    color: "red",
  },
  backfill: { verb: "Start", did: "started", about: "" },
};

/** Orders for all runs that a search finds. */
export function BulkMenu({ project, search }: { project: string; search: RunSearch }) {
  const may = useMay("operator");
  const mayDelete = useMay("admin");
  const [kind, setKind] = useState<BulkKind>();
  const states = search.state?.split(",") ?? [];
  if (!may) return null;
  const someActive = states.length === 0 || states.some((s) => !ended(s));
  const someEnded = states.length === 0 || states.some(ended);
  const someFailed = states.length === 0 || states.some((s) => s === "failed" || s === "cancelled");
  return (
    <>
      <Menu position="bottom-end">
        <Menu.Target>
          <Button size="xs" variant="default" rightSection={<IconChevronDown size={14} />}>
            For all of these
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconRefresh size={15} />} disabled={!someFailed} onClick={() => setKind("retry")}>
            Retry those that failed…
          </Menu.Item>
          <Menu.Item leftSection={<IconPlayerPlay size={15} />} onClick={() => setKind("again")}>
            Run all again…
          </Menu.Item>
          <Menu.Item
            color="red"
            leftSection={<IconPlayerStop size={15} />}
            disabled={!someActive}
            onClick={() => setKind("cancel")}
          >
            Cancel those under way…
          </Menu.Item>
          {mayDelete && (
            <Menu.Item
              color="red"
              leftSection={<IconTrash size={15} />}
              disabled={!someEnded}
              onClick={() => setKind("delete")}
            >
              Delete those that have ended…
            </Menu.Item>
          )}
        </Menu.Dropdown>
      </Menu>
      {kind && <BulkDialog project={project} kind={kind} search={search} close={() => setKind(undefined)} />}
    </>
  );
}

/** Tells how many runs a search finds, asks, orders, and shows how far the order is. */
export function BulkDialog(props: {
  project: string;
  kind: BulkKind;
  search: RunSearch;
  /** what the runs have in common, beside the words of the search */
  common?: string;
  close: () => void;
}) {
  const { project, kind, search, common, close } = props;
  const w = bulkWords[kind];
  const queries = useQueryClient();
  // What lies back from now is fixed here: what is counted is what is ordered.
  const [filter] = useState(() => filterOf(search, Date.now()));
  const url = path("runner", project, "bulk");
  const plan = useQuery({
    queryKey: ["bulk-plan", project, kind, filter],
    queryFn: () => call<Bulk>("POST", url, { kind, filter, plan: true }),
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  const order = useMutation({
    mutationFn: () => call<Bulk>("POST", url, { kind, filter }),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ["runner", project] }),
  });
  const n = plan.data?.runs ?? 0;
  return (
    <Modal opened onClose={close} title={<Text fw={600}>{w.verb} many runs</Text>} size="md">
      {order.data ? (
        <BulkProgress project={project} order={order.data} total={order.data.runs} close={close} />
      ) : plan.isError ? (
        <Failure error={plan.error} />
      ) : plan.isPending ? (
        <Group gap="xs">
          <Loader size="xs" />
          <Text size="sm">counting…</Text>
        </Group>
      ) : (
        <Stack gap="sm">
          <Text>
            <b>{counted(n, "run")}</b> {n === 1 ? "is" : "are"} meant:
          </Text>
          {common && (
            <Text size="sm" fw={500} lineClamp={3}>
              {common}
            </Text>
          )}
          <Meant filter={filter} kind={kind} />
          {n > 0 && (
            <Text size="sm" c="dimmed">
              {w.about} Runs that start from now on are not meant.
            </Text>
          )}
          {order.isError && (
            <Text c="red" size="sm" role="alert">
              {textOf(order.error)}
            </Text>
          )}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" size="xs" onClick={close}>
              {n === 0 ? "Close" : "Leave them"}
            </Button>
            {n > 0 && (
              <Button size="xs" color={w.color} loading={order.isPending} onClick={() => order.mutate()} data-autofocus>
                {w.verb} {counted(n, "run")}
              </Button>
            )}
          </Group>
        </Stack>
      )}
    </Modal>
  );
}

function Meant({ filter, kind }: { filter: Record<string, string[]>; kind: BulkKind }) {
  const list = words(filter);
  if (!filter.state && kind === "cancel") list.push("that have not ended");
  if (!filter.state && kind === "delete") list.push("that have ended");
  if (!filter.state && kind === "retry") list.push("that failed or were cancelled");
  if (list.length === 0) list.push("all runs of this project");
  return (
    <List size="sm">
      {list.map((x) => (
        <List.Item key={x}>{x}</List.Item>
      ))}
    </List>
  );
}

/** How far an order is, until it is done. */
export function BulkProgress(props: { project: string; order: Bulk; total: number; close: () => void }) {
  const { project, order, total, close } = props;
  const q = useQuery({
    ...bulks(project),
    refetchInterval: (x) => (x.state.data?.items.find((b) => b.id === order.id)?.state === "running" ? 500 : 3_000),
  });
  const now = q.data?.items.find((b) => b.id === order.id) ?? { ...order, runs: 0 };
  const over = now.state !== "running";
  const done = now.runs - now.failed;
  return (
    <Stack gap="sm" data-order={now.state}>
      <Progress.Root size="lg">
        <Progress.Section value={total > 0 ? (100 * done) / total : 100} color="teal" animated={!over} />
        <Progress.Section value={total > 0 ? (100 * now.failed) / total : 0} color="red" />
      </Progress.Root>
      <Group gap={6}>
        {over && now.failed === 0 && <IconCheck size={18} color="var(--mantine-color-teal-6)" />}
        <Text size="sm">
          {over ? "" : `${now.runs.toLocaleString("en")} of `}
          {counted(over ? done : total, "run")} {bulkWords[order.kind].did}
          {now.failed > 0 && `, ${now.failed} refused`}
          {now.state === "stopped" && ", then stopped"}
        </Text>
      </Group>
      {now.problem && (
        <Alert color="red" title="The last one that refused">
          <Text size="sm" style={{ wordBreak: "break-word" }}>
            {now.problem}
          </Text>
        </Alert>
      )}
      {!over && (
        <Text size="xs" c="dimmed">
          It goes on when this is closed, and after a restart of the server: see Bulk orders.
        </Text>
      )}
      <Group justify="flex-end">
        <Button size="xs" variant="default" onClick={close}>
          Close
        </Button>
      </Group>
    </Stack>
  );
}

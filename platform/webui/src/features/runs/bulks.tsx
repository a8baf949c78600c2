import { Button, Table, Text, Tooltip } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { call, path, textOf } from "../../api/client";
import { bulks } from "../../api/queries";
import { words } from "../../api/search";
import type { Bulk } from "../../api/types";
import { Ago, Empty, Failure, Head, StateBadge, Waiting } from "../../components/basics";
import { between, duration } from "../../components/format";
import { useMay } from "../../components/frame";
import { Sections } from "./sections";

const route = getRouteApi("/$project/orders");

/** Orders for many runs, and how far they are. */
export function OrdersPage() {
  const { project } = route.useParams();
  const q = useQuery({
    ...bulks(project),
    refetchInterval: (x) => (x.state.data?.items.some((b) => b.state === "running") ? 700 : 10_000),
  });
  return (
    <>
      <Head title="Runs" about="Orders for many runs, newest first. They go on after a restart and do nothing twice." />
      <Sections project={project} here="orders" />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : q.data.items.length === 0 ? (
        <Empty title="No orders yet">
          Find runs under All runs and choose For all of these, retry a group of failures, or backfill a schedule.
        </Empty>
      ) : (
        <Table.ScrollContainer minWidth={760}>
          <Table className="panel">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>State</Table.Th>
                <Table.Th>Order</Table.Th>
                <Table.Th ta="right">Runs</Table.Th>
                <Table.Th ta="right">Refused</Table.Th>
                <Table.Th>Given</Table.Th>
                <Table.Th>Took</Table.Th>
                <Table.Th />
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {q.data.items.map((b) => (
                <Row key={b.id} project={project} order={b} />
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </>
  );
}

const verbs: Record<Bulk["kind"], string> = {
  cancel: "Cancel runs",
  retry: "Retry runs",
  again: "Run again runs",
  delete: "Delete runs",
  backfill: "Backfill",
};

function about(b: Bulk): string {
  if (b.backfill) {
    const at = (t: string) => new Date(t).toLocaleString();
    return `${b.backfill.workflow}, ${b.backfill.trigger}, from ${at(b.backfill.from)} to ${at(b.backfill.to)}`;
  }
  return words(b.filter ?? {}).join(", ") || "all runs";
}

function Row({ project, order: b }: { project: string; order: Bulk }) {
  const may = useMay("operator");
  const queries = useQueryClient();
  const stop = useMutation({
    mutationFn: () => call("DELETE", path("runner", project, "bulk", b.id ?? "")),
    onError: (e) => notifications.show({ color: "red", title: "Not stopped", message: textOf(e) }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["runner", project, "bulk"] }),
  });
  return (
    <Table.Tr data-order={b.id}>
      <Table.Td>
        <StateBadge state={b.state} />
      </Table.Td>
      <Table.Td>
        <Text size="sm" fw={500}>
          {verbs[b.kind]}
        </Text>
        <Text size="xs" c="dimmed" lineClamp={2} maw={460}>
          {about(b)}
        </Text>
      </Table.Td>
      <Table.Td ta="right">{b.runs.toLocaleString("en")}</Table.Td>
      <Table.Td ta="right">
        {b.failed > 0 ? (
          <Tooltip label={b.problem} multiline maw={420}>
            <Text span size="sm" c="red" tabIndex={0}>
              {b.failed.toLocaleString("en")}
            </Text>
          </Tooltip>
        ) : (
          "0"
        )}
      </Table.Td>
      <Table.Td>{b.created_at && <Ago at={b.created_at} />}</Table.Td>
      <Table.Td>{duration(between(b.created_at, b.ended_at))}</Table.Td>
      <Table.Td ta="right">
        {may && b.state === "running" && (
          <Button size="compact-xs" color="red" variant="light" loading={stop.isPending} onClick={() => stop.mutate()}>
            Stop
          </Button>
        )}
      </Table.Td>
    </Table.Tr>
  );
}

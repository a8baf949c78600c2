import { Table, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { runs, workflows } from "../../api/queries";
import { type RunSearch, searches } from "../../api/search";
import type { Run } from "../../api/types";
import { Ago, Empty, Head, StateBadge, useNow } from "../../components/basics";
import { between, duration } from "../../components/format";
import { Paged } from "../../components/list";
import { BulkMenu } from "./bulk";
import { Filter } from "./filter";
import { Sections } from "./sections";
import { ended } from "./state";
import { amount, costWords } from "./usage";

const route = getRouteApi("/$project/runs");

export function RunsPage() {
  const { project } = route.useParams();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const names = useQuery(workflows(project)).data?.items.map((w) => w.name) ?? [];
  const known = search.workflow && !names.includes(search.workflow) ? [search.workflow, ...names] : names;
  return (
    <>
      <Head
        title="Runs"
        about="Newest first, as they happen."
        actions={<BulkMenu project={project} search={search} />}
      />
      <Sections project={project} here="runs" />
      <Filter
        search={search}
        workflows={known}
        set={(change) => void navigate({ search: (s) => ({ ...s, ...change }), replace: true })}
      />
      <RunTable project={project} search={search} />
    </>
  );
}

export function RunTable({ project, search }: { project: string; search: RunSearch }) {
  return (
    <Paged
      query={runs(project, search)}
      empty={
        <Empty title={searches(search) ? "No such runs" : "No runs yet"}>
          A run is started by a trigger, with Start on a workflow, or with pelton run start.
        </Empty>
      }
    >
      {(items) => (
        <Table.ScrollContainer minWidth={760}>
          <Table className="panel">
            <Table.Thead>
              <Table.Tr>
                <Table.Th>State</Table.Th>
                <Table.Th>Workflow</Table.Th>
                <Table.Th>Started by</Table.Th>
                <Table.Th>When</Table.Th>
                <Table.Th>Took</Table.Th>
                <Table.Th ta="right">CPU</Table.Th>
                <Table.Th>Run</Table.Th>
              </Table.Tr>
            </Table.Thead>
            <Table.Tbody>
              {items.map((r) => (
                <Row key={r.id} project={project} run={r} />
              ))}
            </Table.Tbody>
          </Table>
        </Table.ScrollContainer>
      )}
    </Paged>
  );
}

function Row({ project, run: r }: { project: string; run: Run }) {
  return (
    <Table.Tr>
      <Table.Td>
        <StateBadge state={r.state} />
      </Table.Td>
      <Table.Td>
        <Link className="row" to="/$project/runs/$id" params={{ project, id: r.id }}>
          {r.workflow}
        </Link>
        {r.error && (
          <Text size="xs" c="red" lineClamp={2} maw={480}>
            {r.error.step && `${r.error.step}: `}
            {r.error.message}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        {r.trigger.kind}{" "}
        {r.trigger.id && (
          <Text span c="dimmed" size="sm">
            {r.trigger.id}
          </Text>
        )}
      </Table.Td>
      <Table.Td>
        <Ago at={r.created_at} />
      </Table.Td>
      <Table.Td className="nowrap">
        <Took run={r} />
      </Table.Td>
      <Table.Td ta="right">
        {r.cost && (
          <Tooltip label={costWords(r.cost)}>
            <Text span size="sm" className="nowrap">
              {amount(r.cost.cpu_seconds)} s
            </Text>
          </Tooltip>
        )}
      </Table.Td>
      <Table.Td>
        <Text size="xs" c="dimmed" ff="monospace" className="nowrap">
          {r.id.slice(0, 8)}…{r.id.slice(-4)}
        </Text>
      </Table.Td>
    </Table.Tr>
  );
}

/** How long a run took, or takes so far. */
export function Took({ run: r }: { run: Run }) {
  const moving = !ended(r.state);
  const now = useNow(500, moving);
  return <>{duration(moving ? Math.max(0, now - Date.parse(r.created_at)) : between(r.created_at, r.finished_at))}</>;
}

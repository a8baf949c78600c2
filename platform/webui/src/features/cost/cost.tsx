import { Group, SegmentedControl, Select, SimpleGrid, Stack, Table, Text, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { cost, workflows } from "../../api/queries";
import { back, spans } from "../../api/search";
import type { CostRow } from "../../api/types";
import { Empty, Failure, Head, useNow, Waiting } from "../../components/basics";
import { partColor } from "../../theme";
import { amount } from "../runs/usage";
import { type Day, days, type Measure, measureOf, measures, ranked, valueOf } from "./days";

const route = getRouteApi("/$project/cost");
const colored = partColor.length - 1;

/** What runs have used: of the project, by workflow, by day. */
export function CostPage() {
  const { project } = route.useParams();
  const { workflow, since = "30d", of } = route.useSearch();
  const navigate = route.useNavigate();
  const measure = measureOf(of);
  const names = useQuery(workflows(project)).data?.items.map((w) => w.name) ?? [];
  const sums = useQuery(cost(project, since, undefined, workflow));
  const byDay = useQuery(cost(project, since, "day", workflow));
  const set = (change: { workflow?: string; since?: string; of?: string }) =>
    void navigate({ search: (s) => ({ ...s, ...change }), replace: true });
  const failed = sums.error ?? byDay.error;
  return (
    <>
      <Head
        title="Cost"
        about="What ended runs used: processor time, and memory over time."
        actions={
          <>
            <Select
              aria-label="workflow"
              placeholder="every workflow"
              data={workflow && !names.includes(workflow) ? [workflow, ...names] : names}
              value={workflow ?? null}
              clearable
              searchable
              size="xs"
              onChange={(v) => set({ workflow: v ?? undefined })}
            />
            <Select
              aria-label="started"
              data={spans}
              value={since}
              allowDeselect={false}
              size="xs"
              onChange={(v) => set({ since: v ?? undefined })}
            />
          </>
        }
      />
      {failed ? (
        <Failure error={failed} retry={() => void Promise.all([sums.refetch(), byDay.refetch()])} />
      ) : !sums.data || !byDay.data ? (
        <Waiting />
      ) : sums.data.items.length === 0 ? (
        <Empty title="No run has ended in that time">A run's cost is summed once it has ended.</Empty>
      ) : (
        <Stack>
          <Totals rows={sums.data.items} />
          <Group justify="space-between">
            <Text fw={600}>By day</Text>
            <SegmentedControl
              size="xs"
              data={[...measures]}
              value={measure}
              onChange={(v) => set({ of: v === "cpu" ? undefined : v })}
            />
          </Group>
          <Days rows={byDay.data.items} sums={sums.data.items} measure={measure} since={since} />
          <Rows project={project} rows={sums.data.items} measure={measure} />
        </Stack>
      )}
    </>
  );
}

function Totals({ rows }: { rows: CostRow[] }) {
  const sum = (m: Measure) => rows.reduce((n, r) => n + valueOf(r, m), 0);
  const facts: [string, string][] = [
    ["Ended runs", sum("runs").toLocaleString("en")],
    ["CPU seconds", amount(sum("cpu"))],
    ["GiB seconds", amount(sum("memory"))],
    ["CPU seconds per run", amount(sum("cpu") / Math.max(1, sum("runs")))],
  ];
  return (
    <SimpleGrid cols={{ base: 2, sm: 4 }} spacing="sm">
      {facts.map(([name, v]) => (
        <div key={name} className="panel" style={{ padding: "10px 14px" }}>
          <Text size="xs" c="dimmed">
            {name}
          </Text>
          <Text fw={650} size="xl">
            {v}
          </Text>
        </div>
      ))}
    </SimpleGrid>
  );
}

/** The workflows that have a colour of their own, the dearest first. */
const orderOf = (rows: CostRow[], m: Measure) =>
  ranked(rows, m)
    .slice(0, colored)
    .map((r) => r.workflow);

const colorOf = (order: string[], workflow: string) => {
  const i = order.indexOf(workflow);
  return partColor[i < 0 ? colored : i];
};

function Days(props: { rows: CostRow[]; sums: CostRow[]; measure: Measure; since: string }) {
  const { rows, sums, measure, since } = props;
  const now = useNow(60_000);
  const order = orderOf(sums, measure);
  const list = days(rows, measure, back(since, now) ?? "", now, order);
  const write = (n: number) => (measure === "runs" ? n.toLocaleString("en", { maximumFractionDigits: 1 }) : amount(n));
  const most = Math.max(...list.map((d) => d.total), Number.MIN_VALUE);
  return (
    <div className="panel daychart" role="img" aria-label="cost by day">
      <div className="dayscale">
        <span>{write(most)}</span>
        <span>{write(most / 2)}</span>
        <span>0</span>
      </div>
      <div className="daybars">
        {list.map((d) => (
          <Tooltip key={d.day} label={<DayWords of={d} write={write} />} openDelay={50}>
            <div className="day" data-day={d.day}>
              <div className="daybar" style={{ height: `${(100 * d.total) / most}%` }}>
                {d.parts.map((p) => (
                  <span
                    key={p.workflow}
                    style={{ flexGrow: p.value, background: colorOf(order, p.workflow) }}
                    hidden={p.value === 0}
                  />
                ))}
              </div>
              <span className="daylabel">{list.length <= 10 || weekStart(d.day) ? short(d.day) : ""}</span>
            </div>
          </Tooltip>
        ))}
      </div>
    </div>
  );
}

const weekStart = (day: string) => new Date(`${day}T00:00:00Z`).getUTCDay() === 1;
const short = (day: string) =>
  new Date(`${day}T00:00:00Z`).toLocaleDateString("en", { day: "numeric", month: "short", timeZone: "UTC" });

function DayWords({ of: d, write }: { of: Day; write: (n: number) => string }) {
  return (
    <div>
      <b>{short(d.day)}</b> {write(d.total)}
      {d.parts.map((p) => (
        <div key={p.workflow}>
          {p.workflow}: {write(p.value)}
        </div>
      ))}
    </div>
  );
}

function Rows({ project, rows, measure }: { project: string; rows: CostRow[]; measure: Measure }) {
  const list = ranked(rows, measure);
  const order = orderOf(rows, measure);
  const total = list.reduce((n, r) => n + valueOf(r, measure), 0) || 1;
  return (
    <Table.ScrollContainer minWidth={620}>
      <Table className="panel">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Workflow</Table.Th>
            <Table.Th w="30%">Share</Table.Th>
            <Table.Th ta="right">Runs</Table.Th>
            <Table.Th ta="right">CPU seconds</Table.Th>
            <Table.Th ta="right">GiB seconds</Table.Th>
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {list.map((r) => (
            <Table.Tr key={r.workflow}>
              <Table.Td>
                <Group gap={8} wrap="nowrap">
                  <span className="swatch" style={{ background: colorOf(order, r.workflow) }} />
                  <Link className="row" to="/$project/workflows/$name" params={{ project, name: r.workflow }}>
                    {r.workflow}
                  </Link>
                </Group>
              </Table.Td>
              <Table.Td>
                <Group gap={8} wrap="nowrap">
                  <div className="share">
                    <span
                      style={{
                        width: `${(100 * valueOf(r, measure)) / total}%`,
                        background: colorOf(order, r.workflow),
                      }}
                    />
                  </div>
                  <Text size="xs" c="dimmed" w={46} ta="right" className="nowrap">
                    {Math.round((100 * valueOf(r, measure)) / total)} %
                  </Text>
                </Group>
              </Table.Td>
              <Table.Td ta="right">{r.runs.toLocaleString("en")}</Table.Td>
              <Table.Td ta="right">{amount(r.cpu_seconds)}</Table.Td>
              <Table.Td ta="right">{amount(r.gib_seconds)}</Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

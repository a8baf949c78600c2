import { Button, Code, Stack, Table, Text, Tooltip } from "@mantine/core";
import { IconCalendarRepeat } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { schedules } from "../../api/queries";
import type { Schedule } from "../../api/types";
import { Ago, Empty, Failure, Head, StateBadge, useNow, Waiting } from "../../components/basics";
import { ahead, duration } from "../../components/format";
import { useMay } from "../../components/frame";
import { Backfill } from "./backfill";

const route = getRouteApi("/$project/schedules");
const nameOf = (s: Schedule) => `${s.workflow}/${s.trigger}`;

/** When what is deployed starts by itself, and what becomes of what it misses. */
export function SchedulesPage() {
  const { project } = route.useParams();
  const { backfill } = route.useSearch();
  const navigate = route.useNavigate();
  const q = useQuery(schedules(project));
  const chosen = q.data?.items.find((s) => nameOf(s) === backfill);
  return (
    <>
      <Head
        title="Schedules"
        about="The cron triggers of what is deployed: when they are due, and what becomes of what they miss."
      />
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} retry={() => void q.refetch()} />
      ) : q.data.items.length === 0 ? (
        <Empty title="Nothing that is deployed has a schedule">
          <Stack gap={4} mt="xs">
            <span>A trigger of a workflow makes one:</span>
            <Code>{'- {id: nightly, uses: cron, with: {schedule: "0 6 * * *", timezone: Europe/Paris}}'}</Code>
          </Stack>
        </Empty>
      ) : (
        <Rows
          project={project}
          items={q.data.items}
          backfill={(s) => void navigate({ search: { backfill: nameOf(s) }, replace: true })}
        />
      )}
      {chosen && (
        <Backfill
          key={nameOf(chosen)}
          project={project}
          schedule={chosen}
          close={() => void navigate({ search: {}, replace: true })}
        />
      )}
    </>
  );
}

const catchUp: Record<Schedule["catch_up"], [string, string]> = {
  none: ["none", "Due times that were missed are left out"],
  last: ["last missed", "Of the due times that were missed, the last one is caught up"],
  all: ["all missed", "All due times that were missed are caught up, the newest 1,000 at most"],
};
const overlap: Record<Schedule["overlap"], [string, string]> = {
  allow: ["allowed", "A run starts whether or not the one before has ended"],
  skip: ["skips", "A due time is left out while the run before it is under way"],
  "cancel-previous": ["cancels the one before", "A run that is still under way is cancelled when the next is due"],
};

function Rows({ project, items, backfill }: { project: string; items: Schedule[]; backfill: (s: Schedule) => void }) {
  const may = useMay("operator");
  return (
    <Table.ScrollContainer minWidth={860}>
      <Table className="panel">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Workflow</Table.Th>
            <Table.Th>Schedule</Table.Th>
            <Table.Th>Next</Table.Th>
            <Table.Th>Last</Table.Th>
            <Table.Th>Catch-up</Table.Th>
            <Table.Th>Overlap</Table.Th>
            <Table.Th />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((s) => (
            <Table.Tr key={nameOf(s)} data-schedule={nameOf(s)}>
              <Table.Td>
                <Link className="row" to="/$project/workflows/$name" params={{ project, name: s.workflow }}>
                  {s.workflow}
                </Link>
                <Text size="xs" c="dimmed">
                  {s.trigger}
                </Text>
              </Table.Td>
              <Table.Td>
                <Code>{s.schedule}</Code>
                <Text size="xs" c="dimmed">
                  {s.timezone ?? "the server's time"}
                  {s.jitter_ms ? `, up to ${duration(s.jitter_ms)} later` : ""}
                </Text>
              </Table.Td>
              <Table.Td>
                {s.paused ? <StateBadge state="paused" title={s.paused.reason} /> : <Next times={s.next} />}
              </Table.Td>
              <Table.Td>
                {s.last_due ? (
                  s.last_run ? (
                    <Link to="/$project/runs/$id" params={{ project, id: s.last_run }}>
                      <Ago at={s.last_due} />
                    </Link>
                  ) : (
                    <Ago at={s.last_due} />
                  )
                ) : (
                  <Text size="sm" c="dimmed">
                    not yet
                  </Text>
                )}
              </Table.Td>
              <Table.Td>
                <Policy words={catchUp[s.catch_up]} />
              </Table.Td>
              <Table.Td>
                <Policy words={overlap[s.overlap]} />
              </Table.Td>
              <Table.Td ta="right">
                {may && (
                  <Button
                    size="xs"
                    variant="light"
                    leftSection={<IconCalendarRepeat size={14} />}
                    onClick={() => backfill(s)}
                  >
                    Backfill
                  </Button>
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

function Policy({ words: [short, long] }: { words: [string, string] }) {
  return (
    <Tooltip label={long} multiline maw={320}>
      <Text span size="sm" tabIndex={0}>
        {short}
      </Text>
    </Tooltip>
  );
}

/** The next due time, with those after it. */
export function Next({ times }: { times: string[] }) {
  const now = useNow(15_000);
  const first = times[0];
  if (!first)
    return (
      <Text size="sm" c="dimmed">
        never
      </Text>
    );
  return (
    <Tooltip
      label={
        <div>
          {times.map((t) => (
            <div key={t}>{new Date(t).toLocaleString()}</div>
          ))}
        </div>
      }
    >
      <time dateTime={first} tabIndex={0}>
        <Text span size="sm" className="nowrap">
          {ahead(first, now)}
        </Text>
        <Text size="xs" c="dimmed" className="nowrap">
          {new Date(first).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}
        </Text>
      </time>
    </Tooltip>
  );
}

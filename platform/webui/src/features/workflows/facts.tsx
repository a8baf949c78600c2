import { Group, Stack, Text, Tooltip } from "@mantine/core";
import { IconCalendarClock, IconChartBar } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { cost, schedules } from "../../api/queries";
import type { Workflow } from "../../api/types";
import { useNow } from "../../components/basics";
import { ahead, counted } from "../../components/format";
import { costWords } from "../runs/usage";
import { PolicyLine } from "./policies";

/** What is worth knowing of a workflow at a glance: what holds for its runs, when it starts by
 * itself, what it costs. */
export function Facts({ project, w }: { project: string; w: Workflow }) {
  const due = useQuery(schedules(project)).data?.items.filter((s) => s.workflow === w.name) ?? [];
  const spent = useQuery(cost(project, "30d", undefined, w.name)).data?.items[0];
  const now = useNow(15_000, due.length > 0);
  return (
    <Stack gap={8}>
      <PolicyLine project={project} policies={w.definition?.policies} />
      {(due.length > 0 || spent) && (
        <Group gap="lg" c="dimmed">
          {due.map((s) => (
            <Group key={s.trigger} gap={6} wrap="nowrap">
              <IconCalendarClock size={15} stroke={1.7} />
              <Tooltip label={s.next[0] ? new Date(s.next[0]).toLocaleString() : "no due time"}>
                <Text size="sm">
                  <Link to="/$project/schedules" params={{ project }} data-schedule={s.trigger}>
                    {s.trigger}
                  </Link>{" "}
                  {s.paused ? "rests" : s.next[0] ? ahead(s.next[0], now) : "never"}
                </Text>
              </Tooltip>
            </Group>
          ))}
          {spent && (
            <Group gap={6} wrap="nowrap">
              <IconChartBar size={15} stroke={1.7} />
              <Text size="sm">
                <Link to="/$project/cost" params={{ project }} search={{ workflow: w.name }}>
                  last 30 days
                </Link>
                : {counted(spent.runs, "run")} · {costWords(spent)}
              </Text>
            </Group>
          )}
        </Group>
      )}
    </Stack>
  );
}

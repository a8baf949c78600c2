import { Alert, Badge, Code, Group, Stack, Table, Tabs, Text } from "@mantine/core";
import { IconArrowBackUp } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import type { Attempt, Run, StepError, StepRun } from "../../api/types";
import { StateBadge } from "../../components/basics";
import { between, bytes, duration, place } from "../../components/format";
import { Values } from "../../components/value";
import { stateColor } from "../../theme";
import { Logs } from "./logs";
import { amount, costOf, costWords } from "./usage";
import { Cause } from "./waiting";
import { Retry } from "./orders";
import type { RunView } from "./use-run";

export function ErrorBox({ error, caught }: { error: StepError; caught?: boolean }) {
  return (
    <Alert
      color={caught ? stateColor.caught : "red"}
      title={`${error.step ? `${error.step}: ` : ""}${error.kind}${error.code ? ` (${error.code})` : ""}`}
      role="alert"
    >
      <Text size="sm" style={{ whiteSpace: "pre-wrap" }}>
        {error.field && `${error.field}: `}
        {error.message}
      </Text>
      {error.stack && (
        <Code block mt="xs" style={{ maxHeight: 320, overflow: "auto" }}>
          {error.stack}
        </Code>
      )}
    </Alert>
  );
}

interface Props {
  project: string;
  run: Run;
  onLog: RunView["onLog"];
  tab?: string;
  setTab: (tab: string | null) => void;
}

/** The run as a whole: what went in, what came out, all that was printed. */
export function RunDetails({ project, run, onLog, tab, setTab }: Props) {
  return (
    <Tabs value={tab ?? "io"} onChange={setTab} keepMounted={false} className="panel" p="md">
      <Tabs.List mb="sm">
        <Tabs.Tab value="io">Inputs and result</Tabs.Tab>
        <Tabs.Tab value="logs">Log</Tabs.Tab>
      </Tabs.List>
      <Tabs.Panel value="io">
        <Group align="flex-start" grow wrap="wrap" preventGrowOverflow={false}>
          <Side title="Inputs">
            <Values project={project} values={run.inputs} empty="none" />
          </Side>
          <Side title="Result">
            <Values project={project} values={run.result} empty={run.state === "completed" ? "none" : "not yet"} />
          </Side>
        </Group>
      </Tabs.Panel>
      <Tabs.Panel value="logs">
        <Logs project={project} run={run.id} onLog={onLog} />
      </Tabs.Panel>
    </Tabs>
  );
}

function Side({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <Stack gap={4} miw={300}>
      <Text fw={600} size="sm">
        {title}
      </Text>
      {children}
    </Stack>
  );
}

/** One step run: why it is where it is, what it was given, what it gave, what it printed, each try. */
export function StepRunDetails({ project, run, onLog, tab, setTab, step: s }: Props & { step: StepRun }) {
  const action = (s.uses ?? "").replace(/@.*$/, "");
  return (
    <Stack className="panel" p="md" gap="sm">
      <Group gap="sm">
        <Text fw={600}>
          {s.title || s.step}
          {place(s.item_path)}
        </Text>
        <StateBadge state={s.state} />
        {s.caught && (
          <Badge variant="light" color={stateColor.caught} tt="none">
            caught
          </Badge>
        )}
        {s.undoes && (
          <Badge variant="light" color={stateColor.undoing} tt="none" leftSection={<IconArrowBackUp size={12} />}>
            takes {s.undoes} back
          </Badge>
        )}
        {s.wait ? (
          <Cause project={project} wait={s.wait} reason={s.reason} />
        ) : (
          s.reason && <Text size="sm">{s.reason}</Text>
        )}
        {s.attempts.length > 0 && (
          <Text size="sm" c="dimmed" className="nowrap" title="of all its attempts" data-cost={s.step}>
            {costWords(costOf(s.attempts))}
          </Text>
        )}
        {s.child && (
          <Text size="sm">
            <Link to="/$project/runs/$id" params={{ project, id: s.child }}>
              its run
            </Link>
          </Text>
        )}
        {action.startsWith("./") ? (
          <Text size="sm" c="dimmed">
            {s.uses}
          </Text>
        ) : (
          action && (
            <Text size="sm">
              <Link to="/$project/library/$action" params={{ project, action }}>
                {s.uses}
              </Link>
            </Text>
          )
        )}
        {!s.undoes && <Retry key={s.step} project={project} run={run} from={s.step} label="Retry from here" />}
      </Group>
      {s.error && <ErrorBox error={s.error} caught={s.caught} />}
      <Tabs value={tab ?? "io"} onChange={setTab} keepMounted={false}>
        <Tabs.List mb="sm">
          <Tabs.Tab value="io">Inputs and outputs</Tabs.Tab>
          <Tabs.Tab value="logs">Log</Tabs.Tab>
          <Tabs.Tab value="attempts">Attempts ({s.attempts.length})</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="io">
          <Group align="flex-start" grow wrap="wrap" preventGrowOverflow={false}>
            <Side title="Inputs">
              <Values project={project} values={s.inputs} empty={s.state === "pending" ? "not yet" : "none"} />
            </Side>
            <Side title="Outputs">
              <Values project={project} values={s.outputs} empty={s.state === "completed" ? "none" : "not yet"} />
            </Side>
          </Group>
        </Tabs.Panel>
        <Tabs.Panel value="logs">
          <Logs
            key={s.step + place(s.item_path)}
            project={project}
            run={run.id}
            onLog={onLog}
            step={s.step}
            item={place(s.item_path) || undefined}
          />
        </Tabs.Panel>
        <Tabs.Panel value="attempts">
          {s.attempts.map((a) => (
            <AttemptBox key={a.number} attempt={a} />
          ))}
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function AttemptBox({ attempt: a }: { attempt: Attempt }) {
  const facts: [string, string][] = [
    ["took", duration(between(a.started_at, a.finished_at))],
    ["instance", a.instance ?? ""],
    ["CPU", a.usage?.cpu_micros ? duration(a.usage.cpu_micros / 1000) : ""],
    [
      "memory",
      a.usage?.max_rss_bytes
        ? `${bytes(a.usage.max_rss_bytes)} at most, ${amount(costOf([a]).gib_seconds)} GiB seconds`
        : "",
    ],
    ["progress", a.progress > 0 ? `${Math.round(100 * a.progress)} % ${a.note ?? ""}` : ""],
    ["execution", a.execution],
  ];
  return (
    <Stack gap={4} mb="md">
      <Group gap="xs">
        <Text fw={600} size="sm">
          Attempt {a.number}
        </Text>
        <StateBadge state={a.state} />
      </Group>
      {a.error && <ErrorBox error={a.error} />}
      <Table withRowBorders={false} verticalSpacing={2}>
        <Table.Tbody>
          {facts
            .filter(([, v]) => v)
            .map(([k, v]) => (
              <Table.Tr key={k}>
                <Table.Td w={120}>
                  <Text size="sm" c="dimmed">
                    {k}
                  </Text>
                </Table.Td>
                <Table.Td>
                  <Text size="sm" style={{ wordBreak: "break-all" }}>
                    {v}
                  </Text>
                </Table.Td>
              </Table.Tr>
            ))}
          {a.phases.map((p) => (
            <Table.Tr key={p.kind}>
              <Table.Td>
                <Text size="sm" c="dimmed">
                  {p.kind}
                </Text>
              </Table.Td>
              <Table.Td>
                <Text size="sm">+ {duration(between(a.started_at, p.at))}</Text>
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Stack>
  );
}

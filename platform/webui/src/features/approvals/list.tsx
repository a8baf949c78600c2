import { Button, Drawer, SegmentedControl, Table, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { run, waits } from "../../api/queries";
import type { RunWait } from "../../api/types";
import { Ago, Empty, Failure, Head, useNow, Waiting } from "../../components/basics";
import { place } from "../../components/format";
import { useMay } from "../../components/frame";
import { Paged } from "../../components/list";
import { Decision, SignalButton } from "../runs/decide";
import { keyOf } from "../runs/state";
import { countdown } from "../runs/waits";
import { decisions } from "./count";

const route = getRouteApi("/$project/approvals");

/** What waits for somebody, the oldest first. */
export function ApprovalsPage() {
  const { project } = route.useParams();
  const { kind, run: chosenRun, step } = route.useSearch();
  const navigate = route.useNavigate();
  const signals = kind === "signals";
  return (
    <>
      <Head
        title="Approvals"
        about="What waits for somebody, the oldest first."
        actions={
          <SegmentedControl
            size="xs"
            data={[
              { value: "decisions", label: "Decisions" },
              { value: "signals", label: "Signals" },
            ]}
            value={signals ? "signals" : "decisions"}
            onChange={(v) => void navigate({ search: { kind: v === "signals" ? v : undefined }, replace: true })}
          />
        }
      />
      <Paged
        query={waits(project, signals ? ["signal"] : decisions)}
        empty={
          <Empty title={signals ? "No run waits for a signal" : "Nothing waits for a decision"}>
            {signals
              ? "A step with wait: {signal: …} shows up here until its signal arrives."
              : "A step with wait: {approval: …} or with approval: shows up here until somebody decides."}
          </Empty>
        }
      >
        {(items) => (
          <WaitTable
            project={project}
            items={items}
            decide={(w) =>
              void navigate({ search: (s) => ({ ...s, run: w.run, step: keyOf(w.step, w.item_path) }), replace: true })
            }
          />
        )}
      </Paged>
      {chosenRun && step && (
        <DecisionDrawer
          project={project}
          id={chosenRun}
          step={step}
          close={() => void navigate({ search: (s) => ({ kind: s.kind }), replace: true })}
        />
      )}
    </>
  );
}

function WaitTable(props: { project: string; items: RunWait[]; decide: (w: RunWait) => void }) {
  const { project, items, decide } = props;
  const may = useMay("operator");
  const now = useNow(
    1000,
    items.some((w) => w.until),
  );
  return (
    <Table.ScrollContainer minWidth={700}>
      <Table className="panel">
        <Table.Thead>
          <Table.Tr>
            <Table.Th>Waits for</Table.Th>
            <Table.Th>Workflow</Table.Th>
            <Table.Th>Step</Table.Th>
            <Table.Th>Since</Table.Th>
            <Table.Th>Until</Table.Th>
            <Table.Th />
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody>
          {items.map((w) => (
            <Table.Tr key={w.run + keyOf(w.step, w.item_path)}>
              <Table.Td>
                <Text size="sm" fw={500}>
                  {w.text}
                </Text>
                {w.kind !== "approval" && (
                  <Text size="xs" c="dimmed">
                    {words[w.kind]}
                  </Text>
                )}
              </Table.Td>
              <Table.Td>
                <Link
                  className="row"
                  to="/$project/runs/$id"
                  params={{ project, id: w.run }}
                  search={{ step: keyOf(w.step, w.item_path) }}
                >
                  {w.workflow}
                </Link>
              </Table.Td>
              <Table.Td>
                {w.step}
                {place(w.item_path)}
              </Table.Td>
              <Table.Td>
                <Ago at={w.since} />
              </Table.Td>
              <Table.Td>{countdown(w, now) ?? "no end"}</Table.Td>
              <Table.Td ta="right">
                {w.kind !== "signal" ? (
                  <Button size="xs" variant="light" onClick={() => decide(w)}>
                    Decide
                  </Button>
                ) : (
                  may && <SignalButton project={project} run={w.run} name={w.text} />
                )}
              </Table.Td>
            </Table.Tr>
          ))}
        </Table.Tbody>
      </Table>
    </Table.ScrollContainer>
  );
}

const words: Record<RunWait["kind"], string> = {
  approval: "approval",
  consent: "before the step starts",
  lost: "an attempt was lost: once more?",
  signal: "signal",
};

/** The decision of one step, with the form that the run tells. */
function DecisionDrawer(props: { project: string; id: string; step: string; close: () => void }) {
  const { project, id, step, close } = props;
  const q = useQuery(run(project, id));
  const s = q.data?.steps?.find((x) => keyOf(x.step, x.item_path) === step);
  return (
    <Drawer opened onClose={close} position="right" size="md" title={<Text fw={600}>{s?.wait?.text ?? step}</Text>}>
      {q.isPending ? (
        <Waiting />
      ) : q.isError ? (
        <Failure error={q.error} />
      ) : !s?.wait ? (
        <Text size="sm">It does not wait any more.</Text>
      ) : (
        <>
          <Text size="sm" mb="md">
            <Link to="/$project/runs/$id" params={{ project, id }} search={{ step }}>
              {q.data.workflow}
            </Link>{" "}
            asks this in the step {s.title || s.step}
            {place(s.item_path)}.
          </Text>
          <Decision key={id + step} project={project} run={id} step={s} wait={s.wait} done={close} />
        </>
      )}
    </Drawer>
  );
}

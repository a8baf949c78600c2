import { Button, Group, Modal, NumberInput, Stack, Text, TextInput } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { call, path, Problem, textOf } from "../../api/client";
import { fromLocal, toLocal } from "../../api/search";
import type { Bulk, Schedule } from "../../api/types";
import { counted } from "../../components/format";
import { BulkProgress } from "../runs/bulk";

/** Starts the runs of a schedule's due times in a range: counts them, asks, and shows how far it is. */
export function Backfill({ project, schedule: s, close }: { project: string; schedule: Schedule; close: () => void }) {
  const queries = useQueryClient();
  const [from, setFrom] = useState(() => toLocal(new Date(Date.now() - 7 * 86_400_000).toISOString()));
  const [to, setTo] = useState(() => toLocal(new Date().toISOString()));
  const [concurrency, setConcurrency] = useState<string | number>("");
  const range = { from: fromLocal(from), to: fromLocal(to) };
  const wrong = {
    from: range.from ? undefined : "give the time of the first due time",
    to: !range.to
      ? "give the time before which due times lie"
      : range.from && range.from >= range.to
        ? "give a time after the first"
        : undefined,
    concurrency:
      concurrency === "" || /^[1-9]\d*$/.test(String(concurrency)) ? undefined : "give a whole number of at least 1",
  };
  const valid = !wrong.from && !wrong.to && !wrong.concurrency;
  const body = { workflow: s.workflow, trigger: s.trigger, ...range, concurrency: Number(concurrency) || undefined };
  const url = path("runner", project, "backfill");
  const plan = useQuery({
    queryKey: ["backfill-plan", project, body],
    queryFn: () => call<Bulk>("POST", url, { ...body, plan: true }),
    enabled: valid,
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
  const order = useMutation({
    mutationFn: () => call<Bulk>("POST", url, body),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ["runner", project] }),
  });
  const error = order.error ?? plan.error;
  const field = (name: "from" | "to" | "concurrency") =>
    wrong[name] ?? (error instanceof Problem ? error.field(name) : undefined);
  const n = valid ? plan.data?.runs : undefined;
  return (
    <Modal opened onClose={close} title={<Text fw={600}>Backfill {s.workflow}</Text>} size="lg">
      {order.data ? (
        <BulkProgress project={project} order={order.data} total={order.data.runs} close={close} />
      ) : (
        <form
          noValidate
          onSubmit={(e) => {
            e.preventDefault();
            if (n) order.mutate();
          }}
        >
          <Stack gap="sm">
            <Text size="sm" c="dimmed">
              Starts a run for every due time of {s.trigger} ({s.schedule} {s.timezone}) in a range. A due time that has
              a run already starts no other.
            </Text>
            <Group grow align="flex-start">
              <TextInput
                label="From"
                type="datetime-local"
                value={from}
                error={field("from")}
                onChange={(e) => setFrom(e.currentTarget.value)}
              />
              <TextInput
                label="To"
                type="datetime-local"
                value={to}
                error={field("to")}
                onChange={(e) => setTo(e.currentTarget.value)}
              />
            </Group>
            <Text size="xs" c="dimmed" mt={-6}>
              In your time zone, {Intl.DateTimeFormat().resolvedOptions().timeZone}.
            </Text>
            <NumberInput
              label="Runs at a time"
              description="Left empty, all of them are under way at once, as far as limits allow."
              placeholder="all"
              allowDecimal={false}
              allowNegative={false}
              value={concurrency}
              error={field("concurrency")}
              onChange={setConcurrency}
            />
            {error && !(["from", "to", "concurrency"] as const).some(field) && (
              <Text c="red" size="sm" role="alert">
                {textOf(error)}
              </Text>
            )}
            <Group justify="space-between">
              <Text size="sm" aria-live="polite">
                {n === undefined ? "" : `${counted(n, "due time")} in that range`}
              </Text>
              <Group gap="xs">
                <Button variant="default" size="xs" onClick={close}>
                  Leave it
                </Button>
                <Button type="submit" size="xs" disabled={!n} loading={order.isPending}>
                  {n ? `Start ${counted(n, "run")}` : "Start"}
                </Button>
              </Group>
            </Group>
          </Stack>
        </form>
      )}
    </Modal>
  );
}

import {
  Anchor,
  Button,
  Collapse,
  Group,
  MultiSelect,
  Pill,
  Select,
  SimpleGrid,
  Stack,
  TextInput,
} from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { IconFilter, IconSearch } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { fromLocal, runStates, type RunSearch, searches, spans, toLocal, triggerKinds } from "../../api/search";

interface Props {
  search: RunSearch;
  /** the workflows to choose from; undefined where the workflow is given by the page */
  workflows?: string[];
  set: (change: RunSearch) => void;
}

const none: RunSearch = {
  workflow: undefined,
  state: undefined,
  since: undefined,
  from: undefined,
  to: undefined,
  error: undefined,
  kind: undefined,
  group: undefined,
  trigger: undefined,
  input: undefined,
  retry_of: undefined,
};

/** The fields of a search for runs. What they say is in the address. */
export function Filter({ search, workflows, set }: Props) {
  const [more, setMore] = useState(!!(search.kind || search.trigger));
  const [open, setOpen] = useState(false); // on a narrow screen
  const narrow = open ? undefined : "xs";
  return (
    <Stack className="panel" p="sm" gap="xs" mb="md" role="search" aria-label="filter">
      <Button
        hiddenFrom="xs"
        size="xs"
        variant="default"
        leftSection={<IconFilter size={14} />}
        onClick={() => setOpen(!open)}
      >
        {open ? "Hide the filter" : searches(search) ? "Filter, which is set" : "Filter"}
      </Button>
      <SimpleGrid
        visibleFrom={narrow}
        cols={{ base: 1, xs: 2, md: workflows ? 5 : 4 }}
        spacing="sm"
        verticalSpacing="xs"
      >
        {workflows && (
          <Select
            label="Workflow"
            placeholder="every"
            data={workflows}
            value={search.workflow ?? null}
            clearable
            searchable
            size="xs"
            onChange={(v) => set({ workflow: v ?? undefined })}
          />
        )}
        <MultiSelect
          label="State"
          placeholder={search.state ? undefined : "every"}
          data={runStates}
          value={search.state?.split(",") ?? []}
          clearable
          size="xs"
          onChange={(v) => set({ state: v.length > 0 ? v.join(",") : undefined })}
        />
        <Started search={search} set={set} />
        <Debounced
          label="Error text"
          placeholder="part of the message"
          value={search.error}
          set={(error) => set({ error })}
        />
        <InputField search={search} set={set} />
      </SimpleGrid>
      {(search.from || search.to) && <Between search={search} set={set} />}
      <Collapse in={more}>
        <SimpleGrid cols={{ base: 1, xs: 2, md: 5 }} spacing="sm">
          <Debounced
            label="Kind of error"
            placeholder="timeout, user_error, …"
            value={search.kind}
            set={(kind) => set({ kind })}
          />
          <Select
            label="Started by"
            placeholder="everything"
            data={triggerKinds}
            value={search.trigger ?? null}
            clearable
            size="xs"
            onChange={(v) => set({ trigger: v ?? undefined })}
          />
        </SimpleGrid>
      </Collapse>
      <Group gap="xs" justify="space-between" visibleFrom={open || searches(search) ? undefined : "xs"}>
        <Group gap="xs">
          {search.group && (
            <Pill
              withRemoveButton
              removeButtonProps={{ "aria-label": "every group" }}
              onRemove={() => set({ group: undefined })}
            >
              failure group {search.group}
            </Pill>
          )}
          {search.retry_of && (
            <Pill withRemoveButton onRemove={() => set({ retry_of: undefined })}>
              repeats run …{search.retry_of.slice(-4)}
            </Pill>
          )}
          {(search.input ?? []).map((i) => (
            <Pill
              key={i}
              withRemoveButton
              removeButtonProps={{ "aria-label": `without ${i}` }}
              onRemove={() => set({ input: search.input!.filter((x) => x !== i) })}
            >
              {i}
            </Pill>
          ))}
          <Anchor component="button" type="button" size="xs" visibleFrom={narrow} onClick={() => setMore(!more)}>
            {more ? "Fewer filters" : "More filters"}
          </Anchor>
        </Group>
        {searches(search) && (
          <Button size="compact-xs" variant="subtle" onClick={() => set(none)}>
            Clear
          </Button>
        )}
      </Group>
    </Stack>
  );
}

/** A text that is searched for once one stops to type. */
function Debounced(props: {
  label: string;
  placeholder: string;
  value?: string;
  set: (v: string | undefined) => void;
}) {
  const [text, setText] = useState(props.value ?? "");
  useEffect(() => setText(props.value ?? ""), [props.value]);
  const send = useDebouncedCallback((v: string) => props.set(v || undefined), 350);
  return (
    <TextInput
      label={props.label}
      placeholder={props.placeholder}
      size="xs"
      leftSection={<IconSearch size={13} />}
      value={text}
      onChange={(e) => {
        setText(e.currentTarget.value);
        send(e.currentTarget.value.trim());
      }}
    />
  );
}

/** Since when: a span back from now, or between two times. */
function Started({ search, set }: Props) {
  const between = search.from !== undefined || search.to !== undefined;
  const odd = search.since && !spans.some((s) => s.value === search.since);
  const data = odd ? [...spans, { value: search.since!, label: `last ${search.since}` }] : spans;
  return (
    <Select
      label="Started"
      placeholder="at any time"
      data={[...data, { value: "between", label: "between two times…" }]}
      value={between ? "between" : (search.since ?? null)}
      clearable
      size="xs"
      onChange={(v) =>
        set(
          v === "between"
            ? { since: undefined, from: new Date(Date.now() - 86_400_000).toISOString() }
            : { since: v ?? undefined, from: undefined, to: undefined },
        )
      }
    />
  );
}

function Between({ search, set }: Props) {
  const [draft, setDraft] = useState({ from: toLocal(search.from), to: toLocal(search.to) });
  useEffect(() => setDraft({ from: toLocal(search.from), to: toLocal(search.to) }), [search.from, search.to]);
  const [error, setError] = useState("");
  const change = (next: typeof draft) => {
    setDraft(next);
    const [from, to] = [fromLocal(next.from), fromLocal(next.to)];
    const wrong = !!from && !!to && from >= to;
    setError(wrong ? "give a time after the first" : "");
    if (!wrong && (from || to)) set({ from, to });
  };
  return (
    <Group gap="sm" align="flex-start">
      <TextInput
        label="from"
        type="datetime-local"
        size="xs"
        value={draft.from}
        onChange={(e) => change({ ...draft, from: e.currentTarget.value })}
      />
      <TextInput
        label="to"
        type="datetime-local"
        size="xs"
        value={draft.to}
        error={error}
        onChange={(e) => change({ ...draft, to: e.currentTarget.value })}
      />
    </Group>
  );
}

/** An input to search for; Enter adds it. */
function InputField({ search, set }: Props) {
  const [text, setText] = useState("");
  const [error, setError] = useState("");
  const add = () => {
    const t = text.trim();
    if (t === "") return setError("");
    if (!/^[^=\s]+=./.test(t)) return setError("write name=value, such as city=Oslo");
    setError("");
    setText("");
    set({ input: [...new Set([...(search.input ?? []), t])] });
  };
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        add();
      }}
    >
      <TextInput
        label="Input"
        placeholder="name=value, then Enter"
        size="xs"
        value={text}
        error={error}
        onBlur={add}
        onChange={(e) => setText(e.currentTarget.value)}
      />
    </form>
  );
}

import { Button, Group, Text, TextInput } from "@mantine/core";
import { IconArrowDown } from "@tabler/icons-react";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { get, path, query, textOf } from "../../api/client";
import type { LogPage, LogRecord } from "../../api/types";
import { Empty } from "../../components/basics";
import { place } from "../../components/format";
import type { RunView } from "./use-run";

const PAGE = 5000;
const AHEAD = 20_000; // lines that are fetched without being asked for
const MORE = 100_000; // lines that are fetched for being asked once

const newReader = () => ({ after: 0, left: 0, busy: false, again: false, abort: new AbortController() });

// Colours of terminals say nothing here.
// eslint-disable-next-line no-control-regex
const ansi = /\u001b\[[0-9;?]*[A-Za-z]/g;

/** The log of a run or of one step of it: only what can be seen is in the page, so that 100,000
 * lines scroll as smoothly as ten. New lines follow while the end is in view. */
export function Logs(props: {
  project: string;
  run: string;
  onLog: RunView["onLog"];
  step?: string;
  item?: string;
  attempt?: number;
}) {
  const { project, run, onLog, step, item, attempt } = props;
  const [records, setRecords] = useState<LogRecord[]>([]);
  const [more, setMore] = useState(false);
  const [error, setError] = useState<unknown>();
  const [loading, setLoading] = useState(true);
  const [search, setSearch] = useState("");
  const [follow, setFollow] = useState(true);
  const box = useRef<HTMLDivElement>(null);
  // What is being read: the cursor of the last record, how many more are wanted, whether a reading
  // is on its way and whether something came up meanwhile. Each list has its own.
  const reader = useRef(newReader());

  const mine = useCallback(
    (l: LogRecord) =>
      (!step || l.step === step) && (!attempt || l.attempt === attempt) && (!item || place(l.item_path) === item),
    [step, attempt, item],
  );

  // Reads up to so many records after the last one; one reading at a time, which is told when more
  // is wanted than it set out for.
  const read = useCallback(
    async (upTo: number) => {
      const r = reader.current;
      r.left = Math.max(r.left, upTo);
      r.again = true;
      if (r.busy) return;
      r.busy = true;
      try {
        while (r.again || r.left > 0) {
          r.again = false;
          const page = await get<LogPage>(
            query(path("runner", project, "runs", run, "logs"), { after: r.after, limit: PAGE, step, attempt }),
            r.abort.signal,
          );
          if (page.next > r.after) {
            r.after = page.next;
            const fresh = page.items.filter(mine);
            setRecords((old) => [...old, ...fresh.filter((l) => l.cursor > (old.at(-1)?.cursor ?? 0))]);
          }
          r.left = page.more ? r.left - page.items.length : 0;
          setMore(page.more);
          setLoading(false);
        }
      } catch (e) {
        if (!r.abort.signal.aborted) setError(e);
      } finally {
        r.busy = false;
      }
    },
    [project, run, step, attempt, mine],
  );

  useEffect(() => {
    const r = newReader();
    reader.current = r;
    setRecords([]);
    setLoading(true);
    setError(undefined);
    void read(AHEAD);
    const stop = onLog((l) => {
      if (l === "gap" || r.busy) {
        void read(AHEAD);
        return;
      }
      if (l.cursor <= r.after) return;
      // Cursors count without gaps over the whole run; another step's record is only counted.
      if (l.cursor > r.after + 1 && !step) {
        void read(AHEAD);
        return;
      }
      r.after = l.cursor;
      if (mine(l)) setRecords((old) => [...old, l]);
    });
    return () => {
      r.abort.abort();
      stop();
    };
  }, [read, onLog, mine, step]);

  const wanted = search.toLowerCase();
  const shown = useMemo(
    () => (wanted ? records.filter((l) => l.line.toLowerCase().includes(wanted)) : records),
    [records, wanted],
  );
  const rows = useVirtualizer({
    count: shown.length,
    getScrollElement: () => box.current,
    estimateSize: (i) => 18 * (1 + (shown[i]?.line.match(/\n/g)?.length ?? 0)),
    overscan: 20,
  });
  useEffect(() => {
    if (follow && shown.length > 0) rows.scrollToIndex(shown.length - 1, { align: "end" });
  }, [follow, shown.length, rows]);

  if (error) return <Text c="red">{textOf(error)}</Text>;
  if (!loading && records.length === 0)
    return <Empty title="Nothing was printed">What user code writes to its output or its logger shows up here.</Empty>;
  return (
    <div>
      <Group mb={6} justify="space-between">
        <TextInput
          size="xs"
          placeholder="find in the log"
          aria-label="find in the log"
          value={search}
          onChange={(e) => setSearch(e.currentTarget.value)}
          w={260}
        />
        <Group gap="xs">
          <Text size="xs" c="dimmed" data-testid="log-count">
            {shown.length.toLocaleString("en")} {shown.length === 1 ? "line" : "lines"}
            {more && " so far"}
          </Text>
          {more && (
            <Button size="compact-xs" variant="default" onClick={() => void read(MORE)}>
              Load more
            </Button>
          )}
          <Button
            size="compact-xs"
            variant={follow ? "light" : "default"}
            leftSection={<IconArrowDown size={13} />}
            onClick={() => setFollow((f) => !f)}
          >
            Follow
          </Button>
        </Group>
      </Group>
      <div
        className="log"
        ref={box}
        tabIndex={0}
        aria-label="log"
        onWheel={(e) => {
          if (e.deltaY < 0) setFollow(false);
        }}
      >
        <div style={{ height: rows.getTotalSize(), position: "relative" }}>
          {rows.getVirtualItems().map((v) => {
            const l = shown[v.index]!;
            return (
              <div
                key={l.cursor}
                ref={rows.measureElement}
                data-index={v.index}
                style={{ position: "absolute", top: 0, left: 0, right: 0, transform: `translateY(${v.start}px)` }}
              >
                <div className="line" data-level={l.level} data-stream={l.stream}>
                  <span title={l.at}>
                    {l.at.slice(11, 23)}
                    {!step && ` ${l.step}${place(l.item_path)}`}
                  </span>
                  <span>
                    {l.line.replace(ansi, "")}
                    {l.dropped ? ` (${l.dropped} lines were dropped here: more was printed than the log may hold)` : ""}
                  </span>
                </div>
              </div>
            );
          })}
        </div>
      </div>
    </div>
  );
}

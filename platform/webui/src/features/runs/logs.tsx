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
  const reader = useRef({ after: 0, busy: false, again: false });

  const mine = useCallback(
    (l: LogRecord) =>
      (!step || l.step === step) && (!attempt || l.attempt === attempt) && (!item || place(l.item_path) === item),
    [step, attempt, item],
  );

  // Reads what there is after the last record; one reading at a time.
  const read = useCallback(
    async (upTo: number, signal: AbortSignal) => {
      const r = reader.current;
      if (r.busy) {
        r.again = true;
        return;
      }
      r.busy = true;
      try {
        for (let n = 0; n < upTo;) {
          const page = await get<LogPage>(
            query(path("runner", project, "runs", run, "logs"), { after: r.after, limit: PAGE, step, attempt }),
            signal,
          );
          const fresh = page.items.filter(mine);
          if (page.next > r.after) {
            r.after = page.next;
            setRecords((old) => [...old, ...fresh.filter((l) => l.cursor > (old.at(-1)?.cursor ?? 0))]);
          }
          n += page.items.length;
          setMore(page.more);
          setLoading(false);
          if (!page.more) break;
        }
      } catch (e) {
        if (!signal.aborted) setError(e);
      } finally {
        r.busy = false;
        if (r.again && !signal.aborted) {
          r.again = false;
          void read(upTo, signal);
        }
      }
    },
    [project, run, step, attempt, mine],
  );

  useEffect(() => {
    const abort = new AbortController();
    reader.current = { after: 0, busy: false, again: false };
    setRecords([]);
    setLoading(true);
    setError(undefined);
    void read(AHEAD, abort.signal);
    const stop = onLog((l) => {
      const r = reader.current;
      if (l === "gap" || r.busy) {
        void read(AHEAD, abort.signal);
        return;
      }
      if (l.cursor <= r.after) return;
      // Cursors count without gaps over the whole run; another step's record is only counted.
      if (l.cursor > r.after + 1 && !step) {
        void read(AHEAD, abort.signal);
        return;
      }
      r.after = l.cursor;
      if (mine(l)) setRecords((old) => [...old, l]);
    });
    return () => {
      abort.abort();
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
            <Button
              size="compact-xs"
              variant="default"
              onClick={() => void read(100_000, new AbortController().signal)}
            >
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

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useReducer, useRef, useState } from "react";
import { get, path, Problem } from "../../api/client";
import { whileVisible } from "../../api/live";
import { listen } from "../../api/stream";
import type { LogRecord, Run, RunEvent } from "../../api/types";
import { apply, ended } from "./state";

type LogListener = (rec: LogRecord | "gap") => void;

export interface RunView {
  run?: Run;
  error?: unknown;
  /** whether events come in; false also when the run has ended */
  live: boolean;
  /** calls back with every record that comes in, and with "gap" when some may be missing */
  onLog: (f: LogListener) => () => void;
}

/** A run as it is and as it goes on. */
export function useRun(project: string, id: string): RunView {
  const queries = useQueryClient();
  const [run, event] = useReducer(apply, undefined);
  const [error, setError] = useState<unknown>();
  const [live, setLive] = useState(false);
  const logs = useRef(new Set<LogListener>());
  const onLog = useRef((f: LogListener) => {
    logs.current.add(f);
    return () => void logs.current.delete(f);
  }).current;

  useEffect(() => {
    const url = path("runner", project, "runs", id);
    let over = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const read = async () => {
      timer = undefined;
      try {
        const r = await get<Run>(url);
        if (!over) event({ type: "snapshot", run: r });
        return r;
      } catch (e) {
        if (!over && e instanceof Problem && e.status >= 400 && e.status < 500) setError(e);
        return undefined;
      }
    };
    // Steps' inputs and outputs are not in the events; they are read when steps end, and seldom enough.
    const readSoon = () => {
      timer ??= setTimeout(() => void read(), 600);
    };
    // Events come in bursts; they are shown once a frame.
    let burst: RunEvent[] = [];
    let frame = 0;
    const show = () => {
      frame = 0;
      for (const e of burst) event(e);
      burst = [];
    };
    const follow = () =>
      whileVisible(() =>
        listen<RunEvent>(`${url}/events`, {
          event: (e) => {
            if (e.type === "log" && e.log) logs.current.forEach((f) => f(e.log!));
            else if (e.type === "resync") {
              logs.current.forEach((f) => f("gap"));
              readSoon();
            } else {
              burst.push(e);
              frame ||= requestAnimationFrame(show);
              if (e.type === "snapshot") logs.current.forEach((f) => f("gap"));
              if (e.type === "step" && e.step_run && ended(e.step_run.state)) readSoon();
              if (e.type === "end") {
                setLive(false);
                logs.current.forEach((f) => f("gap"));
                void queries.invalidateQueries({ queryKey: ["runner", project, "runs"] });
              }
            }
          },
          live: setLive,
          last: (e) => e.type === "end",
        }),
      );
    let stop = () => {};
    void read().then((r) => {
      if (r && !ended(r.state) && !over) stop = follow();
    });
    return () => {
      over = true;
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      stop();
    };
  }, [project, id, queries]);

  return { run, error, live, onLog };
}

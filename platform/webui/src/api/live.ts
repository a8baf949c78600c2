import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { path, query } from "./client";
import { listen } from "./stream";

/** Calls start while the page can be seen, and what it returns when it no longer can. Browsers
 * allow six connections to a server over all tabs: hidden ones must not hold any. */
export function whileVisible(start: () => () => void): () => void {
  let stop: (() => void) | undefined;
  const look = () => {
    if (document.hidden) {
      stop?.();
      stop = undefined;
    } else stop ??= start();
  };
  look();
  document.addEventListener("visibilitychange", look);
  return () => {
    document.removeEventListener("visibilitychange", look);
    stop?.();
  };
}

/** Keeps what is shown of a service true: its events put the project's queries out of date, at
 * most three times a second. */
export function useLive(service: "studio" | "repository" | "runner", project: string) {
  const client = useQueryClient();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const refresh = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        void client.invalidateQueries({ queryKey: [service, project] });
      }, 330);
    };
    const url = query(path(service, project, "events"), { logs: service === "runner" ? false : undefined });
    let first = true;
    const stop = whileVisible(() =>
      listen(url, {
        event: refresh,
        live: (up) => {
          if (up && !first) refresh(); // what happened in between was not told
          if (up) first = false;
        },
      }),
    );
    return () => {
      stop();
      clearTimeout(timer);
    };
  }, [client, service, project]);
}

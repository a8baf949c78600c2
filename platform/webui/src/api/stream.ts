/** Hooks of a stream of server-sent events. */
export interface StreamHandlers<T> {
  event: (e: T) => void;
  /** the connection stands (true) or is being made again (false) */
  live?: (up: boolean) => void;
  /** the events after which the server has nothing more to say */
  last?: (e: T) => boolean;
}

/** Listens until the returned function is called. A cut connection is made again after a pause
 * that grows to 5 s; the server then begins with the state as it is, so nothing is missed. */
export function listen<T>(url: string, handlers: StreamHandlers<T>): () => void {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let pause = 300;
  let over = false;
  const open = () => {
    source = new EventSource(url);
    source.onopen = () => {
      pause = 300;
      handlers.live?.(true);
    };
    const take = (m: MessageEvent<string>) => {
      const e = JSON.parse(m.data) as T;
      handlers.event(e);
      if (handlers.last?.(e)) stop();
    };
    source.onmessage = take;
    for (const name of ["log", "end"]) source.addEventListener(name, take);
    source.onerror = () => {
      source?.close();
      if (over) return;
      handlers.live?.(false);
      timer = setTimeout(open, pause);
      pause = Math.min(pause * 2, 5000);
    };
  };
  const stop = () => {
    over = true;
    clearTimeout(timer);
    source?.close();
  };
  open();
  return stop;
}

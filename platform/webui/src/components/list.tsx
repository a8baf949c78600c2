import { Button, Center } from "@mantine/core";
import { useInfiniteQuery, type UseInfiniteQueryOptions, type InfiniteData } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { List } from "../api/types";
import { Failure, Waiting } from "./basics";

/** A list read page by page: rows of what is there, a button for more. */
export function Paged<T>(props: {
  // The key's type differs per list; what matters here is the pages.
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  query: UseInfiniteQueryOptions<List<T>, Error, InfiniteData<List<T>, unknown>, any, string>;
  empty: ReactNode;
  children: (items: T[]) => ReactNode;
}) {
  const q = useInfiniteQuery(props.query);
  if (q.isPending) return <Waiting />;
  if (q.isError) return <Failure error={q.error} retry={() => void q.refetch()} />;
  const items = q.data.pages.flatMap((p) => p.items);
  if (items.length === 0) return props.empty;
  return (
    <>
      {props.children(items)}
      {q.hasNextPage && (
        <Center mt="sm">
          <Button variant="default" size="xs" loading={q.isFetchingNextPage} onClick={() => void q.fetchNextPage()}>
            Show more
          </Button>
        </Center>
      )}
    </>
  );
}

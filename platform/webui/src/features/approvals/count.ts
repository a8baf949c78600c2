import { useInfiniteQuery } from "@tanstack/react-query";
import { waits } from "../../api/queries";

/** The kinds of waits that a person ends. */
export const decisions = ["approval", "consent", "lost"];

/** How many decisions wait, as the navigation shows it: "" for none. */
export function useWaitingCount(project: string): string {
  const first = useInfiniteQuery(waits(project, decisions)).data?.pages[0];
  if (!first?.items.length) return "";
  return first.next_cursor ? `${first.items.length}+` : String(first.items.length);
}

import { describe, expect, it } from "vitest";
import type { Run } from "../../api/types";
import { cause, causeAround, countdown, mayDecide, waiting } from "./waits";

const at = (s: number) => new Date(Date.UTC(2026, 0, 1) + 1000 * s).toISOString();

describe("a wait", () => {
  it("is told in words", () => {
    expect(cause({ kind: "signal", text: "payment" })).toBe("waits for the signal payment");
    expect(cause({ kind: "approval", text: "Ship?" })).toBe("Ship?");
    expect(cause({ kind: "slot", text: "key k is held by run r", position: 2 })).toBe(
      "key k is held by run r, place 2 in the queue",
    );
    expect(cause({ kind: "slot", text: "k" }, "key k is held by run r")).toBe("key k is held by run r");
    expect(cause({ kind: "slot" }, "waiting for its turn")).toBe("waiting for its turn");
  });

  it("leaves room for links to the runs that hold what is waited for", () => {
    const id = "01a211ba-d844-7845-9e25-a4c9ce52c6f9";
    const slot = { kind: "slot" as const, held_by: [id, id], position: 3 };
    expect(causeAround({ ...slot, text: `key k: 2 of 2 taken, by runs ${id}, ${id}` })).toEqual([
      "key k: 2 of 2 taken, by",
      ", place 3 in the queue",
    ]);
    expect(causeAround({ ...slot, position: 1, text: "k" }, `key k is held by run ${id}/call`)).toEqual([
      "key k is held by",
      "",
    ]);
    expect(causeAround({ kind: "slot" }, "key k is not known yet")).toEqual(["key k is not known yet", ""]);
    expect(causeAround({ kind: "signal", text: "paid" })).toEqual(["waits for the signal paid", ""]);
  });

  it("counts down", () => {
    const now = Date.parse(at(0));
    expect(countdown({ kind: "time", until: at(61) }, now)).toBe("goes on in 1 min 1 s");
    expect(countdown({ kind: "approval", until: at(-1) }, now)).toBe("gives up now");
    expect(countdown({ kind: "signal" }, now)).toBeUndefined();
  });

  it("is ended by those who may", () => {
    const who = (name: string, role: "viewer" | "operator" | "developer" | "admin") => ({
      name,
      admin: false,
      roles: { p: role },
    });
    const named = { kind: "approval" as const, approvers: ["ada", "role:developer"] };
    expect(mayDecide(named, who("ada", "viewer"), "p")).toBe(true);
    expect(mayDecide(named, who("bob", "operator"), "p")).toBe(false);
    expect(mayDecide(named, who("bob", "developer"), "p")).toBe(true);
    expect(mayDecide(named, who("bob", "admin"), "p")).toBe(true);
    expect(mayDecide(named, who("bob", "developer"), "q")).toBe(false);
    expect(mayDecide({ kind: "approval" }, who("bob", "operator"), "p")).toBe(true);
    expect(mayDecide({ kind: "approval" }, who("eve", "viewer"), "p")).toBe(false);
    expect(mayDecide({ kind: "approval", approvers: ["role:owner"] }, who("eve", "viewer"), "p")).toBe(false);
    expect(mayDecide(named, undefined, "p")).toBe(false);
  });

  it("comes first where somebody can end it", () => {
    const base = { kind: "wait" as const, item_path: [], state: "waiting" as const, items: -1, attempts: [] };
    const run = {
      id: "r",
      workflow: "w",
      state: "waiting",
      trigger: { kind: "manual" },
      created_at: at(0),
      steps: [
        { ...base, step: "a", wait: { kind: "time", until: at(1) } },
        { ...base, step: "b", state: "completed" },
        { ...base, step: "c", wait: { kind: "signal", text: "go" } },
      ],
    } as Run;
    expect(waiting(run).map((s) => s.step)).toEqual(["c", "a"]);
  });
});

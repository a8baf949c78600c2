import { FileInput, NumberInput, PasswordInput, Select, Switch, Textarea, TextInput } from "@mantine/core";
import { path, query, send } from "../../api/client";
import type { FileRef, Item, Json } from "../../api/types";
import type { Entry } from "./form";

/** A name for an order, for sending it twice; also where the page is not a secure context, which
 * crypto.randomUUID needs. */
export const newKey = () =>
  `form-${Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(16)).join("-")}`;

/** Stores the files of a form, and puts the values that name them among its inputs. */
export async function upload(
  project: string,
  form: { inputs: Record<string, Json>; files: Record<string, File> },
): Promise<void> {
  for (const [name, file] of Object.entries(form.files)) {
    const url = query(path("runner", project, "files"), { name: file.name });
    const answer = await send("POST", url, file, file.type ? { headers: { "Content-Type": file.type } } : {});
    form.inputs[name] = (await answer.json()) as FileRef as unknown as Json;
  }
}

interface FieldProps {
  item: Item;
  value: Entry;
  set: (v: Entry) => void;
  error?: string;
}

/** The field of one input, by its type. */
export function Field({ item, value, set, error }: FieldProps) {
  const needed = !item.optional && item.default === undefined && item.type !== "boolean";
  const common = { label: item.title || item.name, description: item.help, error, withAsterisk: needed };
  const text = typeof value === "string" ? value : "";
  switch (item.type) {
    case "boolean":
      return (
        <Switch
          label={common.label}
          description={item.help}
          error={error}
          checked={value === true}
          onChange={(e) => set(e.currentTarget.checked)}
        />
      );
    case "integer":
      return <NumberInput {...common} allowDecimal={false} value={text} onChange={(v) => set(String(v))} />;
    case "float":
      return <NumberInput {...common} value={text} onChange={(v) => set(String(v))} />;
    case "enum":
      return (
        <Select
          {...common}
          data={item.enum_values ?? []}
          value={text || null}
          onChange={(v) => set(v ?? "")}
          clearable={!needed}
        />
      );
    case "password":
      return <PasswordInput {...common} value={text} onChange={(e) => set(e.currentTarget.value)} autoComplete="off" />;
    case "longstring":
      return (
        <Textarea
          {...common}
          autosize
          minRows={3}
          maxRows={14}
          value={text}
          onChange={(e) => set(e.currentTarget.value)}
        />
      );
    case "json":
    case "list":
      return (
        <Textarea
          {...common}
          autosize
          minRows={3}
          maxRows={14}
          value={text}
          styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }}
          placeholder={item.type === "list" ? "[ … ]" : "{ … }"}
          onChange={(e) => set(e.currentTarget.value)}
        />
      );
    case "file":
      return (
        <FileInput
          {...common}
          accept={item.accept?.join(",")}
          value={value instanceof File ? value : null}
          onChange={set}
          placeholder="choose a file"
          clearable
        />
      );
    default:
      return <TextInput {...common} value={text} onChange={(e) => set(e.currentTarget.value)} />;
  }
}

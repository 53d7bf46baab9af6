// The code of schema/CLIENTS.md, as modules: the clients run what a reader copies.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";

const folder = new URL("__generated__/recipes/", import.meta.url);
const page = readFileSync(new URL("../../schema/CLIENTS.md", import.meta.url), "utf8");

// The code blocks by file name. A block begins with a comment that has the name.
export const recipes = Object.fromEntries(
  [...page.matchAll(/^```js\n\/\/ (\S+)\n(.*?)^```$/gms)].map(([, name, code]) => [name, code]),
);

// The options of graphql-codegen.
export const generatorOptions = JSON.parse(page.match(/^```json\n(.*?)^```$/ms)[1]);

// Imports one of the modules.
export function imported(name) {
  mkdirSync(folder, { recursive: true });
  for (const [file, code] of Object.entries(recipes)) {
    const partial = new URL(`${file}.${process.pid}`, folder);
    writeFileSync(partial, code);
    // Other processes may be importing it.
    renameSync(partial, new URL(file, folder));
  }
  return import(new URL(name, folder));
}

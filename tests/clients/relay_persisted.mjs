// Persists Relay's documents: compiles those of relay/ in another directory, with a file of documents by hash.
// node relay_persisted.mjs <an empty directory> <schema> <algorithm>
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import compiler from "relay-compiler";

const [place, schema, algorithm] = process.argv.slice(2);
const [file, config] = [join(place, "persisted.json"), join(place, "relay.config.json")];
const home = new URL("relay/", import.meta.url);

for (const name of ["orders.js", "customer.js", "feed.js"]) cpSync(new URL(name, home), join(place, name));
mkdirSync(join(place, "__generated__"));
writeFileSync(file, "{}");
writeFileSync(
  config,
  JSON.stringify({
    ...JSON.parse(readFileSync(new URL("relay.config.json", home), "utf8")),
    schema,
    persistConfig: { file: "persisted.json", algorithm },
  }),
);
execFileSync(compiler, ["relay.config.json"], { cwd: place });
console.log(JSON.stringify({ file }));

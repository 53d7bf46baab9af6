// graphql-codegen: prints the TypeScript types of a schema, made with the options of schema/CLIENTS.md.
// node generate.mjs <schema.graphql>
import { readFileSync } from "node:fs";
import { codegen } from "@graphql-codegen/core";
import * as plugin from "@graphql-codegen/typescript";
import { parse } from "graphql";
import { generatorOptions } from "./recipes.mjs";

const schema = parse(readFileSync(process.argv[2], "utf8"));
const types = await codegen({
  schema,
  filename: "types.ts",
  documents: [],
  config: generatorOptions,
  plugins: [{ typescript: {} }],
  pluginMap: { typescript: plugin },
});
console.log(JSON.stringify({ types }));

// Owns the check of a schema against Relay's specification, by graphql-eslint's rules for it.
// node relay_spec.mjs <schema file>
import { readFileSync } from "node:fs";
import graphql from "@graphql-eslint/eslint-plugin";
import { ESLint } from "eslint";

const schema = process.argv[2];
const eslint = new ESLint({
  overrideConfigFile: true,
  overrideConfig: {
    files: ["**/*.graphql"],
    plugins: { "@graphql-eslint": graphql },
    languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema } } },
    rules: {
      ...graphql.configs["flat/schema-relay"].rules,
      // OrderConnection.nodes and Query.nodes are lists of nodes, which Relay leaves alone.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
      // Relay asks for forward arguments, backward ones, or both. What the platform pages goes forward only.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
    },
  },
});
const [{ messages }] = await eslint.lintText(readFileSync(schema, "utf8"), { filePath: "schema.graphql" });
const found = messages.map(({ ruleId, message, line }) => ({ ruleId, message, line }));
console.log(JSON.stringify({ messages: found }));

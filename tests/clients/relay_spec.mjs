// Checks a schema against Relay's specification, with graphql-eslint's rules.
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
      // OrderConnection.nodes and Query.nodes are lists of nodes, to which Relay's rules do not apply.
      "@graphql-eslint/relay-edge-types": ["error", { listTypeCanWrapOnlyEdgeType: false }],
      // Relay requires forward arguments, backward ones, or both. The platform's lists can only be paged forward.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
    },
  },
});
const [{ messages }] = await eslint.lintText(readFileSync(schema, "utf8"), { filePath: "schema.graphql" });
const found = messages.map(({ ruleId, message, line }) => ({ ruleId, message, line }));
console.log(JSON.stringify({ messages: found }));

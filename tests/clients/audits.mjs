// The GraphQL-over-HTTP audits of graphql-http, run against the endpoint one at a time.
// node audits.mjs <endpoint>
import { serverAudits } from "graphql-http";

const results = [];
for (const audit of serverAudits({ url: process.argv[2] })) {
  const { id, name, status, reason } = await audit.fn();
  results.push({ id, name, status, reason });
}
console.log(JSON.stringify({ results }));

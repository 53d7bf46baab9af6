// Apollo's link for persisted queries: each client sends a query three times, and prints what it sent.
// node apollo_persisted.mjs <endpoint> <endpoint that stores no queries> <endpoint of a manifest> <id in the manifest>
import { createHash } from "node:crypto";
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";

const [url, forgetful, trusting, id] = process.argv.slice(2);
const sha256 = (text) => createHash("sha256").update(text).digest("hex");
const page = (name) => gql(`query ${name} { orders(first: 2) { nodes { id orderKey } } }`);

console.log(
  JSON.stringify({
    post: await ask(url, page("ByPost"), { sha256 }),
    get: await ask(url, page("ByGet"), { sha256, useGETForHashedQueries: true }),
    off: await ask(forgetful, page("Off"), { sha256 }),
    trusted: await ask(trusting, page("Trusted"), { generateHash: () => id }),
  }),
);

async function ask(uri, query, options) {
  const sent = [];
  const noted = (address, request) => {
    const method = request.method ?? "GET";
    const url = new URL(address).searchParams;
    const { query, extensions } = method === "GET" ? Object.fromEntries(url) : JSON.parse(request.body);
    const hashed = JSON.stringify(extensions).includes("sha256Hash");
    sent.push([method, ...(query ? ["text"] : []), ...(hashed ? ["hash"] : [])].join(" "));
    return fetch(address, request);
  };
  const client = new ApolloClient({
    cache: new InMemoryCache(),
    link: new PersistedQueryLink(options).concat(new HttpLink({ uri, fetch: noted })),
  });
  const keys = [];
  for (let time = 0; time < 3; time += 1) {
    const { data } = await client.query({ query, fetchPolicy: "network-only" });
    keys.push(data.orders.nodes.map(({ orderKey }) => orderKey));
  }
  client.stop();
  return { sent, keys };
}

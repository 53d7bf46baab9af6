// A subscriber that outlives its server: prints each change that it gets until the input ends, and then the close code
// of its first socket if it had one.
// node follow.mjs <graphql-ws, graphql-sse, Apollo, urql or Relay> <server> <cursor>
import { ApolloClient, gql, InMemoryCache } from "@apollo/client";
import { Client } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import * as sse from "graphql-sse";
import * as ws from "graphql-ws";
import relay from "relay-runtime";
import WebSocket from "./browser_socket.mjs";
import { CHANGED, listen } from "./feed.mjs";
import { imported } from "./recipes.mjs";

const [name, server, after] = process.argv.slice(2);
const socketUrl = `${server.replace("http", "ws")}/api/graphql`;
const retryAttempts = Infinity;
// By default the clients wait for seconds between two attempts.
const soon = () => new Promise((resolve) => setTimeout(resolve, 250));
const closed = [];
const say = (change) => console.log(JSON.stringify(change));
const fail = (error) => console.error("a subscription failed:", error);

// Node 20 has no WebSocket of its own.
globalThis.WebSocket = class extends WebSocket {
  constructor(...values) {
    super(...values);
    this.on("close", (code) => closed.push(code));
  }
};

const followers = {
  "graphql-ws"() {
    // By default it gives up if nothing listens, as between a stop and a start.
    const client = ws.createClient({ url: socketUrl, retryAttempts, retryWait: soon, shouldRetry: () => true });
    listen(client, { after }, say);
  },
  "graphql-sse"() {
    const url = `${server}/api/graphql/stream`;
    listen(sse.createClient({ url, singleConnection: false, retryAttempts, retry: soon }), { after }, say);
  },
  async Apollo() {
    const { subscriptionLink } = await imported("apollo.js");
    const client = new ApolloClient({ cache: new InMemoryCache(), link: subscriptionLink(socketUrl) });
    const changes = client.subscribe({ query: gql(CHANGED), variables: { after } });
    changes.subscribe({ next: ({ data, error }) => (error ? fail(error) : say(unnamed(data))), error: fail });
  },
  async urql() {
    const { resumingExchange } = await imported("urql.js");
    // Changes are events: the normalised cache does not keep them.
    const keys = { OrderStatusChange: () => null };
    const client = new Client({
      url: `${server}/api/graphql`,
      exchanges: [cacheExchange({ keys }), resumingExchange(socketUrl)],
    });
    client
      .subscription(CHANGED, { after })
      .subscribe(({ data, error }) => (error ? fail(error) : say(unnamed(data))));
  },
  async Relay() {
    const { createNetwork } = await imported("relay.js");
    const request = { name: "Changed", operationKind: "subscription", text: CHANGED, id: null, metadata: {} };
    const network = createNetwork(() => fail("nothing is fetched"), socketUrl);
    network
      .execute(request, { after }, {})
      .subscribe({ next: ({ data }) => say(data.orderStatusChanged), error: fail });
  },
};
await followers[name]();

process.stdin.resume().on("end", () => {
  if (closed.length) say({ closed: closed[0] });
  process.exit();
});

// The change without the type's name, which normalising clients add.
function unnamed({ orderStatusChanged: { __typename, ...change } }) {
  return change;
}

// Relay: compiles the fragments of relay/, pages through a list of orders, and refetches one of them.
// node relay.mjs <endpoint> <page size> <filter and orderBy as JSON>
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import compiler from "relay-compiler";
import relay from "relay-runtime";

const [url, pageSize, list] = [process.argv[2], Number(process.argv[3]), JSON.parse(process.argv[4])];
const home = new URL("relay/", import.meta.url);

const [listFragment, orderFragment] = compiled("orders_list", "orders_order");
const [forward, backward] = [await pageToTheEnd("forward"), await pageToTheEnd("backward")];
console.log(
  JSON.stringify({
    forward: reported(forward),
    backward: reported(backward),
    refetched: await refetchLast(forward),
  }),
);

function compiled(...fragments) {
  mkdirSync(new URL("__generated__", home), { recursive: true });
  execFileSync(compiler, ["relay.config.json"], { cwd: home });
  const require = createRequire(home);
  return fragments.map((name) => require(`./__generated__/${name}.graphql`));
}

// Like usePaginationFragment, without React.
async function pageToTheEnd(direction) {
  const [environment, requests] = newEnvironment();
  const { paginationRequest, paginationMetadata } = relay.getPaginationMetadata(listFragment, "orders");
  let cursor = null;
  let connection;
  do {
    const variables = relay.getPaginationVariables(direction, pageSize, cursor, list, {}, paginationMetadata);
    await relay.fetchQuery(environment, paginationRequest, variables).toPromise();
    const operation = relay.createOperationDescriptor(paginationRequest, variables);
    environment.retain(operation);
    const root = environment.lookup(operation.fragment).data;
    connection = read(environment, listFragment, root).orders;
    const { startCursor, endCursor, hasNextPage, hasPreviousPage } = connection.pageInfo;
    cursor = direction === "forward" ? hasNextPage && endCursor : hasPreviousPage && startCursor;
  } while (cursor);
  return { environment, nodes: connection.edges.map(({ node }) => node), requests };
}

// Like useRefetchableFragment, after the store's copy of the order was changed.
async function refetchLast({ environment, nodes }) {
  const order = () => read(environment, orderFragment, nodes.at(-1));
  const { id } = order();
  relay.commitLocalUpdate(environment, (store) => store.get(id).setValue("stale", "totalPrice"));
  const stored = order();
  const { refetchableRequest, identifierInfo } = relay.getRefetchMetadata(orderFragment, "order");
  const variables = { [identifierInfo.identifierQueryVariableName]: id };
  await relay.fetchQuery(environment, refetchableRequest, variables).toPromise();
  return { stored, fetched: order() };
}

function newEnvironment() {
  const requests = [];
  const network = relay.Network.create(async ({ text }, variables) => {
    requests.push(variables);
    const response = await fetch(url, {
      method: "POST",
      headers: { accept: "application/graphql-response+json", "content-type": "application/json" },
      body: JSON.stringify({ query: text, variables }),
    });
    return response.json();
  });
  const store = new relay.Store(new relay.RecordSource());
  return [new relay.Environment({ network, store }), requests];
}

function read(environment, fragment, reference) {
  return environment.lookup(relay.getSingularSelector(fragment, reference)).data;
}

function reported({ environment, nodes, requests }) {
  return { orders: nodes.map((node) => read(environment, orderFragment, node)), requests: requests.length };
}

// urql with graphcache: pages through the orders of a customer, and the line items of one of these orders.
// node urql.mjs <endpoint> <customer, order and page sizes as JSON>
import { Client, fetchExchange, gql } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { imported } from "./recipes.mjs";

const [url, nested] = [process.argv[2], JSON.parse(process.argv[3])];
const { resolvers } = await imported("urql_pages.js");

const LINES = `
  lineItems(first: $lines, after: $afterLine) {
    edges { node { __typename id lineNumber quantity part { __typename id name } } }
    pageInfo { hasNextPage endCursor }
  }
`;
const CUSTOMER = gql`
  query ($customerKey: BigInt!, $orders: Int, $after: String, $lines: Int, $afterLine: String) {
    customer(customerKey: $customerKey) {
      id
      orders(first: $orders, after: $after) {
        edges { node { id ${LINES} } }
        pageInfo { hasNextPage endCursor }
      }
    }
  }
`;
const ORDER = gql`
  query ($orderKey: BigInt!, $lines: Int, $afterLine: String) {
    order(orderKey: $orderKey) { id ${LINES} }
  }
`;

let requests = 0;
const client = new Client({
  url,
  exchanges: [cacheExchange({ resolvers }), fetchExchange],
  preferGetMethod: false,
  fetch(...request) {
    requests += 1;
    return fetch(...request);
  },
});

const { customerKey, orderKey, orders, lines } = nested;
const found = await pageToTheEnd(CUSTOMER, { customerKey, orders, lines }, "after", (data) => data.customer.orders);
const items = await pageToTheEnd(ORDER, { orderKey, lines }, "afterLine", (data) => data.order.lineItems);
console.log(
  JSON.stringify({
    orders: found.map(({ node }) => node.id),
    lines: items.map(({ node }) => node),
    requests,
  }),
);

// Asks for page after page. The cache answers with the pages merged.
async function pageToTheEnd(query, variables, argument, connection) {
  let cursor = null;
  let merged;
  do {
    const { data, error } = await client.query(query, { ...variables, [argument]: cursor });
    if (error) throw error;
    merged = connection(data);
    cursor = merged.pageInfo.hasNextPage && merged.pageInfo.endCursor;
  } while (cursor);
  return merged.edges;
}

// Apollo Client: pages through a list of orders, forwards and backwards, in Apollo's own cache; and through the orders of
// a customer, and the line items of one of these orders.
// node apollo.mjs <endpoint> <page size> <filter and orderBy as JSON> <customer, order and page sizes as JSON>
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { concatMap, filter, firstValueFrom } from "rxjs";
import { imported } from "./recipes.mjs";

const [url, pageSize] = [process.argv[2], Number(process.argv[3])];
const [list, nested] = process.argv.slice(4).map(JSON.parse);

const { typePolicies } = await imported("apollo_pages.js");

const ORDERS = gql`
  query Orders(
    $first: Int
    $after: String
    $last: Int
    $before: String
    $filter: OrderFilter
    $orderBy: OrderOrder
  ) {
    orders(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) {
      edges {
        cursor
        node {
          id
          orderKey
          status
          totalPrice
          orderDate
        }
      }
      pageInfo {
        hasNextPage
        hasPreviousPage
        startCursor
        endCursor
      }
    }
  }
`;

const LINES = `
  lineItems(first: $lines, after: $afterLine) {
    edges {
      node {
        id
        lineNumber
        quantity
        part {
          id
          name
        }
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
`;
const CUSTOMER = gql`
  query Customer($customerKey: BigInt!, $orders: Int, $after: String, $lines: Int, $afterLine: String) {
    customer(customerKey: $customerKey) {
      id
      orders(first: $orders, after: $after) {
        edges {
          node {
            id
            ${LINES}
          }
        }
        pageInfo {
          hasNextPage
          endCursor
        }
      }
    }
  }
`;
const MORE_LINES = gql`
  query MoreLines($orderKey: BigInt!, $lines: Int, $afterLine: String) {
    order(orderKey: $orderKey) {
      id
      ${LINES}
    }
  }
`;

console.log(
  JSON.stringify({
    forward: await pageToTheEnd(
      { first: pageSize },
      ({ hasNextPage, endCursor }) => hasNextPage && { after: endCursor },
    ),
    backward: await pageToTheEnd(
      { last: pageSize },
      ({ hasPreviousPage, startCursor }) => hasPreviousPage && { before: startCursor },
    ),
    nested: await pageBelow(),
  }),
);

// A client with the recipe's policies, and the requests that it has sent.
function connect() {
  const requests = [];
  const counted = (...request) => {
    requests.push(request);
    return fetch(...request);
  };
  const link = new HttpLink({ uri: url, fetch: counted });
  return { client: new ApolloClient({ cache: new InMemoryCache({ typePolicies }), link }), requests };
}

async function pageToTheEnd(size, following) {
  const { client, requests } = connect();
  const pages = client.watchQuery({ query: ORDERS, variables: { ...list, ...size } });
  // Apollo reports each page once it is merged with those before it.
  const merged = pages.pipe(
    filter(({ loading }) => !loading),
    concatMap(async ({ data, error }) => {
      if (error) throw error;
      const next = following(data.orders.pageInfo);
      if (next) await pages.fetchMore({ variables: next });
      return { edges: data.orders.edges, complete: !next };
    }),
  );
  const { edges } = await firstValueFrom(merged.pipe(filter(({ complete }) => complete)));
  const normalised = Object.keys(client.cache.extract()).filter((key) => key.startsWith("Order:"));
  return { orders: edges.map(({ node }) => node), requests: requests.length, normalised: normalised.length };
}

// The orders come with the first page of their line items. Another query continues those of one order, in the same cache.
async function pageBelow() {
  const { client, requests } = connect();
  const { customerKey, orderKey, order, orders, lines } = nested;
  const pages = client.watchQuery({ query: CUSTOMER, variables: { customerKey, orders, lines } });
  const merged = pages.pipe(
    filter(({ loading }) => !loading),
    concatMap(async ({ data, error }) => {
      if (error) throw error;
      const below = data.customer.orders;
      const found = below.edges.find(({ node }) => node.id === order)?.node.lineItems;
      if (below.pageInfo.hasNextPage) await pages.fetchMore({ variables: { after: below.pageInfo.endCursor } });
      else if (found.pageInfo.hasNextPage)
        await pages.fetchMore({
          query: MORE_LINES,
          variables: { orderKey, lines, afterLine: found.pageInfo.endCursor },
        });
      else return { orders: below.edges.map(({ node }) => node.id), lines: found.edges.map(({ node }) => node) };
    }),
  );
  return { ...(await firstValueFrom(merged.pipe(filter(Boolean)))), requests: requests.length };
}

// Apollo Client: pages through a list of orders, forwards and backwards, in Apollo's own cache.
// node apollo.mjs <endpoint> <page size> <filter and orderBy as JSON>
import { ApolloClient, gql, HttpLink, InMemoryCache } from "@apollo/client";
import { relayStylePagination } from "@apollo/client/utilities";
import { concatMap, filter, firstValueFrom } from "rxjs";

const [url, pageSize, list] = [process.argv[2], Number(process.argv[3]), JSON.parse(process.argv[4])];

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
  }),
);

async function pageToTheEnd(size, following) {
  let requests = 0;
  const counted = (...request) => {
    requests += 1;
    return fetch(...request);
  };
  const orders = relayStylePagination(["filter", "orderBy"]);
  const client = new ApolloClient({
    cache: new InMemoryCache({ typePolicies: { Query: { fields: { orders } } } }),
    link: new HttpLink({ uri: url, fetch: counted }),
  });
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
  return { orders: edges.map(({ node }) => node), requests, normalised: normalised.length };
}

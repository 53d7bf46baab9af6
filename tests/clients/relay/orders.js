// The GraphQL of relay.mjs. relay-compiler reads this file; it never runs.
import { graphql } from "relay-runtime";

graphql`
  fragment orders_list on Query
  @refetchable(queryName: "ordersListQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
    filter: { type: "OrderFilter" }
    orderBy: { type: "[OrderOrder!]" }
  ) {
    orders(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy)
      @connection(key: "list__orders") {
      edges {
        node {
          ...orders_order
        }
      }
    }
  }
`;

graphql`
  fragment orders_order on Order @refetchable(queryName: "ordersOrderQuery") {
    id
    orderKey
    status
    totalPrice
    orderDate
  }
`;

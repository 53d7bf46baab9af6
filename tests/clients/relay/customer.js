// The GraphQL of relay.mjs for connections below a customer. relay-compiler reads this file; it never runs.
import { graphql } from "relay-runtime";

graphql`
  fragment customer_orders on Customer
  @refetchable(queryName: "customerOrdersQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
    lines: { type: "Int" }
  ) {
    orders(first: $first, after: $after, last: $last, before: $before) @connection(key: "customer__orders") {
      edges {
        node {
          id
          orderKey
          ...customer_lines @arguments(first: $lines)
        }
      }
    }
  }
`;

graphql`
  fragment customer_lines on Order
  @refetchable(queryName: "customerLinesQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
  ) {
    lineItems(first: $first, after: $after, last: $last, before: $before) @connection(key: "order__lineItems") {
      edges {
        node {
          __typename
          id
          lineNumber
          quantity
          part {
            __typename
            id
            name
          }
        }
      }
    }
  }
`;

// The GraphQL of persisted_socket.mjs. relay-compiler reads this file; it never runs.
import { graphql } from "relay-runtime";

graphql`
  subscription feed_changedSubscription($after: String) {
    orderStatusChanged(after: $after) {
      cursor
      orderKey
      status
      version
    }
  }
`;

graphql`
  query feed_headQuery {
    orderStatusChanges(first: 0) {
      headCursor
    }
  }
`;

// Shared by the clients of the feed: its documents, the results of an operation, and waiting for many events.
const CHANGE = "cursor orderKey status version";

export const CHANGED = `subscription Changed($orderKeys: [BigInt!], $after: String) {
  orderStatusChanged(orderKeys: $orderKeys, after: $after) { ${CHANGE} }
}`;
export const HISTORY = `query History($after: String) {
  orderStatusChanges(first: 1000, after: $after) { nodes { ${CHANGE} } headCursor }
}`;
export const SET = `mutation Set($orderKey: BigInt!, $status: OrderStatus!) {
  setOrderStatus(input: { orderKey: $orderKey, status: $status }) { change { ${CHANGE} } userErrors { message } }
}`;

// All results of an operation until it ends; rejected with the client's error if it fails.
export async function results(client, operation) {
  const all = [];
  for await (const result of client.iterate(operation)) all.push(result);
  return all;
}

// The history after a cursor, and the feed's head.
export async function history(client, after) {
  const [{ data }] = await results(client, { query: HISTORY, variables: { after } });
  return data.orderStatusChanges;
}

// Sets the status of these orders concurrently.
export function setAll(client, orderKeys, status) {
  const set = (orderKey) => results(client, { query: SET, variables: { orderKey, status } });
  return Promise.all(orderKeys.map(set));
}

// A subscription: the changes it got, a wait for a number of changes, and its end.
export function listen(client, variables, onChange = () => {}) {
  const heard = [];
  let news = () => {};
  const stop = client.subscribe(
    { query: CHANGED, variables },
    {
      next({ data }) {
        const change = data.orderStatusChanged;
        heard.push(change);
        // The client resubscribes with these variables after a lost connection.
        variables.after = change.cursor;
        onChange(change);
        news();
      },
      error: (error) => console.error("a subscription failed:", error),
      complete() {},
    },
  );
  const count = async (wanted) => {
    while (heard.length < wanted) await new Promise((resolve) => (news = resolve));
  };
  return { heard, count, stop };
}

// Owns what the clients of the feed share: its documents, the results of an operation, the listening to many events.
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

// Everything that an operation gives until it ends; rejected with what the client makes of its failure.
export async function results(client, operation) {
  const all = [];
  for await (const result of client.iterate(operation)) all.push(result);
  return all;
}

// The history after a cursor, and its head.
export async function history(client, after) {
  const [{ data }] = await results(client, { query: HISTORY, variables: { after } });
  return data.orderStatusChanges;
}

// Sets the status of each of these orders, all at the same time.
export function setAll(client, orderKeys, status) {
  const set = (orderKey) => results(client, { query: SET, variables: { orderKey, status } });
  return Promise.all(orderKeys.map(set));
}

// A subscription: what it has heard, a wait until that is so many changes, and its end.
export function listen(client, variables, told = () => {}) {
  const heard = [];
  let news = () => {};
  const stop = client.subscribe(
    { query: CHANGED, variables },
    {
      next({ data }) {
        const change = data.orderStatusChanged;
        heard.push(change);
        // With these variables the client subscribes again by itself where its connection was lost.
        variables.after = change.cursor;
        told(change);
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

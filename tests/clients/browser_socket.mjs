// The WebSocket of the npm package `ws`, which delivers one message per task, as browsers do.
//
// By default `ws` delivers all messages of one read in the same task. A client that unsubscribes at `next` then still gets
// the `complete` behind it: graphql-ws 6.4 releases its lock twice, and soon closes the socket under another operation.
import WebSocket from "ws";

export default class BrowserSocket extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { allowSynchronousEvents: false });
  }
}

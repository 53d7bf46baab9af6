// Pages that ask by POST, EventSource and WebSocket: prints the answer, or the status of the refusal.
// node origins.mjs <chromium> [<server of the page> <server to subscribe to>]...
import { launch, open } from "./browser.mjs";

const [chromium, ...servers] = process.argv.slice(2);
const browser = await launch(chromium);
const report = [];
while (servers.length) report.push(await ask(...servers.splice(0, 2)));
console.log(JSON.stringify(report));
await browser.close();

async function ask(own, asked) {
  const page = await open(browser, `${own}/livez`);
  // A page does not learn the status of a refusal, but the browser does.
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const streamed = new Promise((resolve) => {
    let stream;
    const statuses = new Map();
    // The events for the request and its status come in either order.
    const settle = () => statuses.has(stream) && resolve(statuses.get(stream));
    network.on("Network.requestWillBeSent", ({ requestId, type }) => {
      if (type === "EventSource") stream = requestId;
      settle();
    });
    network.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => {
      statuses.set(requestId, statusCode);
      settle();
    });
  });
  const refused = new Promise((resolve) => {
    const settleRefusal = ({ errorMessage }) => resolve(Number(errorMessage.match(/\d+$/)));
    network.on("Network.webSocketFrameError", settleRefusal);
  });
  const stream = `${asked}/api/graphql/stream?query={__typename}`;
  const socket = `${asked.replace("http", "ws")}/api/graphql`;
  return {
    post: await page.evaluate(askByPost, `${asked}/api/graphql`),
    eventSource: (await page.evaluate(askByEventSource, stream)) ?? (await streamed),
    webSocket: (await page.evaluate(askByWebSocket, socket)) ?? (await refused),
  };
}

function askByPost(url) {
  const headers = { "content-type": "application/json" };
  // Without leave, the browser refuses before it has sent anything but a preflight.
  const refused = () => "refused";
  return fetch(url, { method: "POST", headers, body: '{"query":"{__typename}"}' }).then((r) => r.json(), refused);
}

function askByEventSource(url) {
  return new Promise((resolve) => {
    const source = new EventSource(url);
    source.addEventListener("next", ({ data }) => resolve(JSON.parse(data)));
    // It stays closed unless it retries.
    source.addEventListener("error", () => resolve(source.readyState === EventSource.CLOSED ? null : "again"));
    source.addEventListener("complete", () => source.close());
  });
}

function askByWebSocket(url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, "graphql-transport-ws");
    const send = (message) => socket.send(JSON.stringify(message));
    socket.addEventListener("open", () => send({ type: "connection_init" }));
    socket.addEventListener("error", () => resolve(null));
    socket.addEventListener("message", ({ data }) => {
      const { type, payload } = JSON.parse(data);
      if (type === "connection_ack") send({ type: "subscribe", id: "1", payload: { query: "{__typename}" } });
      if (type === "next") resolve(payload);
    });
  });
}

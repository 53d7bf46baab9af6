// A browser's EventSource: prints each event that a page of the server gets, until the input ends.
// node event_source.mjs <chromium> <server> <cursor>
import { launch, open } from "./browser.mjs";

const [chromium, server, after] = process.argv.slice(2);
// The cursor is the event's id even if it is not selected.
const query = `subscription Changed($after: String) {
  orderStatusChanged(after: $after) { orderKey status version }
}`;
const parameters = new URLSearchParams({ query, variables: JSON.stringify({ after }) });

const browser = await launch(chromium);
const page = await open(browser, `${server}/livez`);
await page.exposeFunction("say", (event) => console.log(JSON.stringify(event)));
await page.evaluate((url) => {
  const source = new EventSource(url);
  source.addEventListener("next", ({ data, lastEventId }) =>
    say({ cursor: lastEventId, ...JSON.parse(data).data.orderStatusChanged }),
  );
  source.addEventListener("complete", () => say("complete"));
}, `/api/graphql/stream?${parameters}`);
process.stdin.resume().on("end", () => browser.close());

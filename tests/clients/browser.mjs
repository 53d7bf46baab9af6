// Starts Chromium, without access to other machines and with the tests' timeout.
import { chromium } from "playwright-core";

// The same patience as elsewhere in the tests.
export const PATIENCE_MILLISECONDS = 120_000;

export function launch(executablePath) {
  return chromium.launch({
    executablePath,
    timeout: PATIENCE_MILLISECONDS,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ],
  });
}

export async function open(browser, address) {
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MILLISECONDS);
  await page.goto(address);
  return page;
}

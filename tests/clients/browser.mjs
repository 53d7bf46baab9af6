// Owns the start of Chromium, cut off from everything but this machine, and how long it may take for anything.
import { chromium } from "playwright-core";

// As long as everything in tests.
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

// Opens pages in headless Chromium, waits until their figures say what they should, and takes pictures of them.
//
// The steps come as JSON on stdin: { chromium, pictures, pages: [{ name, url, until: { figure: at least }, status }] }. Pages are
// opened one after the other and stay open; each has to reach its figures. At the end the figures of all are printed as
// JSON, a line each. Exits with 1 and a sentence if a page fails or takes longer than `seconds`.

import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const wishes = JSON.parse(readFileSync(0, "utf8"));

const browser = await chromium.launch({
  executablePath: wishes.chromium,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
  ],
});
let failed = false;
try {
  const context = await browser.newContext({ permissions: ["camera", "microphone"] });
  const opened = [];
  for (const { name, url, until } of wishes.pages) {
    const page = await context.newPage();
    page.on("console", (line) => console.error(`${name}: ${line.text()}`));
    page.on("pageerror", (error) => console.error(`${name}: ${error}`));
    opened.push({ name, page });
    await page.goto(url);
    await page.waitForFunction(
      (until) => Object.entries(until).every(([figure, least]) => (window.figures?.[figure] ?? 0) >= least),
      until,
      { timeout: wishes.seconds * 1000, polling: 100 },
    ).catch(async (error) => {
      const status = await page.textContent("#status");
      const figures = await page.evaluate(() => window.figures);
      throw new Error(`${name}: ${error.message.split("\n")[0]} Status: ${status} Figures: ${JSON.stringify(figures)}`);
    });
  }
  for (const { name, page } of opened) {
    const figures = await page.evaluate(() => window.figures);
    console.log(JSON.stringify({ name, figures, status: await page.textContent("#status") }));
    if (wishes.pictures) await page.screenshot({ path: `${wishes.pictures}/${name}.png`, fullPage: true });
  }
  for (const { page } of opened.reverse()) await page.click("#stop");
} catch (error) {
  console.error(error.message);
  failed = true;
} finally {
  await browser.close();
}
process.exitCode = failed ? 1 : 0;

/**
 * Pictures of every page in both themes and two widths, from a running stack.
 *   PEEP_URL=http://127.0.0.1:8080 PEEP_READ_KEY=… npm run screenshots [folder]
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { launch, login } from './browser.mjs';

const base = (process.env.PEEP_URL ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
const key = process.env.PEEP_READ_KEY ?? '';
const folder = process.argv[2] ?? 'screenshots';
const settle = Number(process.env.SETTLE_MS ?? 2500);
mkdirSync(folder, { recursive: true });

/** Bars that stick to the edges of the window belong at the edges of the picture. */
async function grow(page) {
  const { width } = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({ width, height: Math.max(height, 812) });
  await page.waitForTimeout(300);
}

async function whole(page, path) {
  await grow(page);
  await page.screenshot({ path });
}

const browser = await launch();
try {
  for (const width of [1440, 375]) {
    for (const theme of ['dark', 'light']) {
      const context = await browser.newContext({
        viewport: { width, height: width === 375 ? 812 : 900 },
        deviceScaleFactor: width === 375 ? 3 : 2,
        colorScheme: theme,
        hasTouch: width === 375,
      });
      const page = await context.newPage();
      await page.goto(`${base}/login/`);
      await page.screenshot({ path: join(folder, `login-${width}-${theme}.png`) });
      await login(context, base, key);
      await page.goto(`${base}/`);
      await page.locator('h1:not(.sr-only)').waitFor();
      await page.waitForTimeout(settle);
      await whole(page, join(folder, `overview-${width}-${theme}.png`));
      const worst = process.env.SERVICE ?? (await page.locator('[data-row]:visible').first().textContent());
      if (worst) {
        await page.goto(`${base}/service/?service=${encodeURIComponent(worst)}`);
        await page.locator('h1:not(.sr-only)').waitFor();
        await page.waitForTimeout(settle);
        await grow(page);
        const chart = page.locator('[role=img][tabindex]').first();
        if (width === 1440 && (await chart.count()) > 0) {
          await chart.hover({ position: { x: 250, y: 60 } });
          await page.waitForTimeout(300);
        }
        await whole(page, join(folder, `service-${width}-${theme}.png`));
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
console.log(`pictures in ${folder}`);

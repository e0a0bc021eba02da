/** Starts the system's Chromium for tests and pictures. No browser is downloaded. */
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const CANDIDATES = [
  process.env.PEEP_CHROMIUM,
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];

export async function launch() {
  const executablePath = CANDIDATES.find((path) => path !== undefined && existsSync(path));
  if (executablePath === undefined) {
    throw new Error('no Chromium found: install the package chromium, or set PEEP_CHROMIUM to its path');
  }
  return chromium.launch({
    executablePath,
    args: [
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run',
      // A root shell (containers, CI) has no user namespace to sandbox with.
      ...(process.getuid?.() === 0 ? ['--no-sandbox'] : []),
    ],
  });
}

/** Logs a context in with a read key, through the API the login page uses. */
export async function login(context, base, key) {
  const answer = await context.request.post(`${base}/v1/session`, { data: { key } });
  if (!answer.ok()) throw new Error(`login failed: ${answer.status()} ${await answer.text()}`);
}

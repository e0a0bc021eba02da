/**
 * Pictures of every page from a running stack: in both themes at 1440 px, and on a phone. Small enough to be kept: what
 * a browser writes is filtered and compressed again.
 *
 *   PEEP_URL=http://127.0.0.1:8080 PEEP_READ_KEY=… npm run screenshots [folder]
 *
 * With `PEEP_ADMIN_KEY` instead, the pages that change something are shown as their owners see them; with
 * `PEEP_RECEIPT` the ledger has a passport; `SERVICE` chooses the service, else it is the first of the overview.
 */
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { deflateSync, inflateSync } from 'node:zlib';
import { launch, login } from '../scripts/browser.mjs';

const base = (process.env.PEEP_URL ?? 'http://127.0.0.1:8080').replace(/\/$/, '');
const key = process.env.PEEP_ADMIN_KEY ?? process.env.PEEP_READ_KEY ?? '';
const folder = process.argv[2] ?? 'screenshots';
const settle = Number(process.env.SETTLE_MS ?? 2500);
mkdirSync(folder, { recursive: true });

/** What is done on a page before its picture is taken. */
const POSES = {
  requests: async (page) => {
    await page.locator('[data-row]:visible').first().waitFor();
  },
  compare: async (page) => {
    await page.getByRole('table').first().waitFor();
  },
  ledger: async (page) => {
    if (!process.env.PEEP_RECEIPT) return;
    await page.getByLabel('Receipt or trace id').fill(process.env.PEEP_RECEIPT);
    await page.keyboard.press('Enter');
    await page.getByText(`Receipt ${process.env.PEEP_RECEIPT}`).waitFor();
  },
};

const pages = (service) => [
  ['overview', '/'],
  ['service', `/service/?service=${service}`],
  ['requests', `/requests/?service=${service}&min=20`],
  ['compare', `/compare/?service=${service}&from=-5m`],
  ['alerts', '/alerts/'],
  ['ledger', '/ledger/'],
  ['connect', '/connect/'],
  ['settings', '/settings/'],
];
/** On a phone the pages one opens there. */
const ON_A_PHONE = new Set(['overview', 'service', 'requests', 'ledger']);

async function picture(page, name) {
  const path = join(folder, `${name}.png`);
  await page.screenshot({ path });
  writeFileSync(path, smaller(readFileSync(path)));
  return path;
}

/** The same pixels in fewer bytes: each row with the filter that leaves the least, then the strongest compression. */
function smaller(png) {
  const chunks = [];
  for (let at = 8; at < png.length; ) {
    const length = png.readUInt32BE(at);
    chunks.push({
      type: png.toString('latin1', at + 4, at + 8),
      data: png.subarray(at + 8, at + 8 + length),
    });
    at += 12 + length;
  }
  const header = chunks.find((chunk) => chunk.type === 'IHDR').data;
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  const channels = { 2: 3, 6: 4 }[header[9]];
  if (channels === undefined || header[8] !== 8 || header[12] !== 0) return png;
  const pixels = unfiltered(
    inflateSync(Buffer.concat(chunks.filter((chunk) => chunk.type === 'IDAT').map((chunk) => chunk.data))),
    width * channels,
    height,
    channels,
  );
  const { rows, stride, type } = opaque(pixels, width, height, channels);
  const body = deflateSync(filtered(rows, stride, height, type === 2 ? 3 : 4), { level: 9, memLevel: 9 });
  const head = Buffer.from(header);
  head[9] = type;
  const made = Buffer.concat([
    png.subarray(0, 8),
    chunk('IHDR', head),
    chunk('IDAT', body),
    chunk('IEND', Buffer.alloc(0)),
  ]);
  return made.length < png.length ? made : png;
}

/** A page has nothing behind it, so a fourth channel that says so everywhere is left out. */
function opaque(pixels, width, height, channels) {
  if (channels === 3) return { rows: pixels, stride: width * 3, type: 2 };
  for (let at = 3; at < pixels.length; at += 4)
    if (pixels[at] !== 255) return { rows: pixels, stride: width * 4, type: 6 };
  const rows = Buffer.alloc(width * height * 3);
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += 3) pixels.copy(rows, to, from, from + 3);
  return { rows, stride: width * 3, type: 2 };
}

const paeth = (a, b, c) => {
  const p = a + b - c;
  const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)];
  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
};
const predict = [() => 0, (a) => a, (_, b) => b, (a, b) => (a + b) >> 1, (a, b, c) => paeth(a, b, c)];

function unfiltered(data, stride, height, bpp) {
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y += 1) {
    const of = predict[data[y * (stride + 1)]];
    const row = y * stride;
    for (let x = 0; x < stride; x += 1) {
      const a = x < bpp ? 0 : out[row + x - bpp];
      const b = y === 0 ? 0 : out[row - stride + x];
      const c = x < bpp || y === 0 ? 0 : out[row - stride + x - bpp];
      out[row + x] = data[y * (stride + 1) + 1 + x] + of(a, b, c);
    }
  }
  return out;
}

function filtered(rows, stride, height, bpp) {
  const out = Buffer.alloc((stride + 1) * height);
  const tried = predict.map(() => Buffer.alloc(stride));
  for (let y = 0; y < height; y += 1) {
    const row = y * stride;
    let best = 0;
    let least = Number.POSITIVE_INFINITY;
    predict.forEach((of, filter) => {
      let sum = 0;
      for (let x = 0; x < stride; x += 1) {
        const a = x < bpp ? 0 : rows[row + x - bpp];
        const b = y === 0 ? 0 : rows[row - stride + x];
        const c = x < bpp || y === 0 ? 0 : rows[row - stride + x - bpp];
        const value = (rows[row + x] - of(a, b, c)) & 255;
        tried[filter][x] = value;
        sum += value < 128 ? value : 256 - value;
      }
      if (sum < least) [least, best] = [sum, filter];
    });
    out[y * (stride + 1)] = best;
    tried[best].copy(out, y * (stride + 1) + 1);
  }
  return out;
}

const CRC = Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c >>> 0;
});

function chunk(type, data) {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, 'latin1');
  data.copy(out, 8);
  let crc = 0xffffffff;
  for (let at = 4; at < 8 + data.length; at += 1) crc = CRC[(crc ^ out[at]) & 255] ^ (crc >>> 8);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0, 8 + data.length);
  return out;
}

const browser = await launch();
let bytes = 0;
try {
  for (const width of [1440, 375]) {
    for (const theme of ['dark', 'light']) {
      const narrow = width === 375;
      const context = await browser.newContext({
        viewport: { width, height: narrow ? 812 : 900 },
        deviceScaleFactor: narrow ? 2 : 1,
        colorScheme: theme,
        hasTouch: narrow,
      });
      const page = await context.newPage();
      const take = async (name) => {
        const path = await picture(page, `${name}${narrow ? '-phone' : ''}-${theme}`);
        bytes += statSync(path).size;
      };
      if (!narrow) {
        await page.goto(`${base}/login/`);
        await take('login');
      }
      await login(context, base, key);
      await page.goto(`${base}/`);
      await page.locator('[data-row]:visible').first().waitFor();
      const first = await page.locator('[data-row]:visible').first().textContent();
      for (const [name, path] of pages(encodeURIComponent(process.env.SERVICE ?? first))) {
        // On a phone one theme is enough to see how a page folds.
        if (narrow && (theme === 'light' || !ON_A_PHONE.has(name))) continue;
        await page.goto(`${base}${path}`);
        await page.locator('h1').first().waitFor({ state: 'attached' });
        await POSES[name]?.(page);
        await page.waitForTimeout(settle);
        await take(name);
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
console.log(`pictures in ${folder}, ${(bytes / 1024 / 1024).toFixed(2)} MB`);

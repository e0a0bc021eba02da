// The package in two module formats, from one source: dist/esm and dist/cjs, each with its declarations.
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');

rmSync(`${root}dist`, { recursive: true, force: true });
for (const [format, module] of [
  ['esm', 'esnext'],
  ['cjs', 'commonjs'],
]) {
  const outDir = `${root}dist/${format}`;
  execFileSync(process.execPath, [tsc, '--project', root, '--outDir', outDir, '--module', module], {
    stdio: 'inherit',
  });
  writeFileSync(
    `${outDir}/package.json`,
    `${JSON.stringify({ type: format === 'esm' ? 'module' : 'commonjs' })}\n`,
  );
}

/**
 * The module hook that ts-loader.mjs registers. Types are erased by the compiler that also builds dist/; results are kept by content, so that
 * only the first process after a change pays for it.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const cache = new URL('../../node_modules/.cache/xe-vfio-test/', import.meta.url);

/** Module hook: `.ts` files become JavaScript. */
export async function load(url, context, next) {
  if (!url.endsWith('.ts') || !url.startsWith('file:')) return next(url, context);
  const source = readFileSync(fileURLToPath(url), 'utf8');
  const key = createHash('sha256').update(url).update(source).digest('hex');
  const kept = new URL(`${key}.mjs`, cache);
  let code;
  try {
    code = readFileSync(kept, 'utf8');
  } catch {
    const { default: ts } = await import('typescript');
    const options = {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    };
    const { outputText } = ts.transpileModule(source, { compilerOptions: options, fileName: url });
    code = outputText;
    mkdirSync(cache, { recursive: true });
    const fresh = new URL(`${key}.${process.pid}`, cache);
    writeFileSync(fresh, code);
    renameSync(fresh, kept);
  }
  return { format: 'module', shortCircuit: true, source: code };
}

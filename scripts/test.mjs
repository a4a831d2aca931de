// `npm test [-- --slow] [-- VITEST ARGS]`: installs and builds what is missing, then the checks
// (types, biome, import rules, dead code) and the fast test suite, as one run. Every step runs even
// when one before it failed; the end names the failed ones and closes with the line
// `N passed, N failed, N skipped`, in which a failed check counts as one failure.
//
// --slow runs the slow suite instead, and no checks. Any other argument goes to vitest, and a run
// narrowed that way skips the checks too.

import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { ensureReady, fail, ROOT, say, toolPath } from './ensure.mjs';

const CHECKS = [
  {
    name: 'types',
    command: ['tsc', '-p', 'tsconfig.check.json'],
    hint: 'npx tsc -p tsconfig.check.json',
  },
  { name: 'biome', command: ['biome', 'check'], hint: 'npx biome check --write' },
  {
    name: 'import rules',
    command: ['depcruise', '--config', '.dependency-cruiser.cjs', 'src'],
    hint: 'npx depcruise --config .dependency-cruiser.cjs src',
  },
  { name: 'dead code', command: ['knip'], hint: 'npx knip' },
];

const args = process.argv.slice(2);
const slow = args.includes('--slow');
const vitestArgs = args.filter((arg) => arg !== '--slow');

try {
  await ensureReady();
} catch (error) {
  process.stdout.write('0 passed, 1 failed, 0 skipped\n');
  fail('the tests cannot run', error.message, 'see the output above, then: npm test');
}

const failedSteps = [];
if (!slow && vitestArgs.length === 0) failedSteps.push(...(await runChecks()));

const tests = await runTests();
if (tests.broken !== undefined) failedSteps.push(tests.broken);
for (const step of failedSteps) process.stdout.write(`FAILED: ${step}\n`);
const failed = tests.failed + failedSteps.length;
process.stdout.write(`${tests.passed} passed, ${failed} failed, ${tests.skipped} skipped\n`);
process.exitCode = failed === 0 ? 0 : 1;

/** Runs the checks side by side; returns a line for each one that failed. */
async function runChecks() {
  say(`xe-vfio: checks: ${CHECKS.map((check) => check.name).join(', ')}`);
  const failures = [];
  await Promise.all(
    CHECKS.map(async ({ name, command: [tool, ...toolArgs], hint }) => {
      const started = Date.now();
      const { code, output } = await capture(toolPath(tool), toolArgs);
      say(`xe-vfio: ${name}: ${code === 0 ? 'ok' : 'FAILED'} (${Date.now() - started} ms)`);
      if (code === 0) return;
      process.stdout.write(`${output.trimEnd()}\n`);
      failures.push(`${name} (run: ${hint})`);
    }),
  );
  return failures;
}

/** Runs vitest in front of the user; its reporter leaves the counts in a file. */
async function runTests() {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'xe-vfio-test-'));
  const summary = path.join(directory, 'summary.json');
  const project = slow ? 'slow' : 'fast';
  say(`xe-vfio: the ${project} tests`);
  try {
    const child = spawn(toolPath('vitest'), ['run', '--project', project, ...vitestArgs], {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, XE_VFIO_TEST_SUMMARY: summary },
    });
    const ending = await ended(child);
    const counts = { passed: 0, failed: 0, skipped: 0, ...readCounts(summary) };
    // vitest can fail without a failed test: no test file found, a fork that died.
    const broken = ending !== 0 && counts.failed === 0 ? `vitest ended with ${ending}` : undefined;
    return { ...counts, broken };
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

function readCounts(file) {
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : undefined;
}

async function capture(command, commandArgs) {
  const child = spawn(command, commandArgs, { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const code = await ended(child);
  return { code, output };
}

/** Exit code of a child, or what prevented one. */
function ended(child) {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code ?? signal));
  });
}

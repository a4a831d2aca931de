// `npm start [-- ARGS]`: installs and builds what is missing, then runs `xe-vfio demo ARGS`.

import { spawn } from 'node:child_process';
import * as path from 'node:path';
import { ensureReady, fail, ROOT } from './ensure.mjs';

try {
  await ensureReady();
} catch (error) {
  fail('xe-vfio could not be made ready', error.message, 'see the output above, then: npm start');
}

const binary = path.join(ROOT, 'bin', 'xe-vfio');
const child = spawn(process.execPath, [binary, 'demo', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// A terminal sends Ctrl-C to the whole group; a `kill` reaches only us. Both end the demo, and we
// stay until it has cleaned up.
process.on('SIGINT', () => {});
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('exit', (code, signal) => {
  if (signal !== null) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  } else {
    process.exitCode = code ?? 1;
  }
});

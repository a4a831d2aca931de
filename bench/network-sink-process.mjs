/**
 * The far end of the network benchmark, as a process of its own: a receiver whose VF takes bytes and
 * forgets them, or with `plain` a socket that does. Prints the port that it listens on.
 */
import { createServer } from 'node:net';
import { NetworkReceiver } from '../dist/migration/network-receiver.js';
import { listenSocket } from '../dist/migration/network-socket.js';
import { MIG_STATE } from '../dist/vfio/migration-state.js';
import { VFIO_MIGRATION } from '../dist/vfio/uapi.js';

const say = (port) => process.stdout.write(`${port}\n`);
process.on('disconnect', () => process.exit(0));

if (process.argv[2] === 'plain') {
  const server = createServer((socket) => {
    let bytes = 0;
    socket.on('data', (piece) => {
      bytes += piece.length;
    });
    socket.on('end', () => socket.end(String(bytes)));
  });
  server.listen(0, '127.0.0.1', () => say(server.address().port));
} else {
  const sessions = new Set();
  const device = () => {
    let state = MIG_STATE.RUNNING;
    return {
      migrationFlags: VFIO_MIGRATION.STOP_COPY,
      migrationState: async () => state,
      setMigrationState: async (wanted) => {
        state = wanted;
        return wanted === MIG_STATE.RESUMING ? { write: async () => {}, close() {} } : undefined;
      },
      reset: async () => {
        state = MIG_STATE.RUNNING;
      },
    };
  };
  // A receiver is over with its first session: each HELLO finds a fresh one.
  let receiver;
  const renew = () => {
    receiver = new NetworkReceiver({
      target: { device: device() },
      to: 'sink',
      reconnectMs: 1000,
    });
    sessions.add(receiver);
    const gone = () => sessions.delete(receiver);
    receiver.ended.then(gone, gone).finally(renew);
  };
  renew();
  const address = { scheme: 'tcp', host: '127.0.0.1', port: 0 };
  const listener = await listenSocket(address, undefined, (socket) => receiver.accept(socket));
  say(listener.address.port);
}

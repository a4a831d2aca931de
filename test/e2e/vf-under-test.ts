/** Servers for end-to-end tests, and what is asked of them from outside. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ServerProcess } from '../../src/app/server-process.ts';
import { connectVf } from '../../src/app/vf-connection.ts';
import type { VfDigests } from '../../src/gpu/digests.ts';
import { type MigState, migStateName } from '../../src/vfio/migration-state.ts';
import { VfioUserClient } from '../../src/vfio-user/client.ts';
import { XE_BAR } from '../../src/xe/platforms.ts';

/** Small enough to be quick, more than one transfer. */
export const BMG = ['--platform', 'bmg', '--vram', '8M'];

/** A directory of this test's own. */
export function makeDirectory(): string {
  return mkdtempSync(join(tmpdir(), 'xe-vfio-e2e-'));
}

/** Removes it. */
export function removeDirectory(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

/** A server process with one VF. */
export class VfUnderTest {
  readonly socket: string;
  readonly #args: readonly string[];
  #server: ServerProcess;
  #vmm: VfioUserClient | undefined;

  private constructor(socket: string, args: readonly string[], server: ServerProcess) {
    this.socket = socket;
    this.#args = args;
    this.#server = server;
  }

  /** Starts a server; a BMG VF with 8 MiB of VRAM unless told otherwise. */
  static async start(socket: string, args: readonly string[] = BMG): Promise<VfUnderTest> {
    return new VfUnderTest(socket, args, await startServer(socket, args));
  }

  get pid(): number {
    return this.#server.pid;
  }

  /** The name of the VF's migration state, as a new connection is told it. */
  async state(): Promise<string> {
    return migStateName(await this.#withDevice((device) => device.migrationState()));
  }

  /** Sets the VF's migration state on a connection that then leaves. */
  async setState(state: MigState): Promise<void> {
    await this.#withDevice((device) => device.setMigrationState(state));
  }

  /**
   * Writes into VRAM as a VMM does, so that there is something to lose. The VMM stays: the VF is
   * reset when it leaves.
   */
  async write(text: string, offset = 0): Promise<void> {
    const bytes = new TextEncoder().encode(text);
    this.#vmm ??= await VfioUserClient.connect(this.socket);
    await this.#vmm.regionWrite(XE_BAR.LMEM, offset, bytes, 0, bytes.length);
  }

  async digests(): Promise<VfDigests> {
    return await this.#server.ask({ op: 'digests', vfid: 1 });
  }

  /** Kills the server without a warning, and starts it again. */
  async killAndRestart(): Promise<void> {
    await this.kill();
    this.#server = await startServer(this.socket, this.#args);
  }

  async kill(): Promise<void> {
    await this.#server.stop('SIGKILL');
    await this.#unplug();
  }

  async stop(): Promise<void> {
    await this.#unplug();
    await this.#server.stop();
  }

  async #unplug(): Promise<void> {
    await this.#vmm?.close();
    this.#vmm = undefined;
  }

  async #withDevice<T>(
    action: (device: Awaited<ReturnType<typeof connectVf>>['device']) => Promise<T>,
  ): Promise<T> {
    const vf = await connectVf(this.socket);
    try {
      return await action(vf.device);
    } finally {
      await vf.close();
    }
  }
}

function startServer(socket: string, args: readonly string[]): Promise<ServerProcess> {
  return ServerProcess.start(['--socket', socket, ...args]);
}

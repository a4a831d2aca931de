import type { AddressInfo } from 'node:net';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP proxy whose connections a test cuts, alters or stops. */
export class CuttingProxy {
  readonly #server: Server;
  readonly #pairs = new Set<readonly [Socket, Socket]>();
  /** Bytes towards the receiver so far, over all connections. */
  forwarded = 0;
  /** Cuts everything each time so many further bytes have gone towards the receiver. */
  cutEvery = Number.POSITIVE_INFINITY;
  /** At most so many cuts. */
  cutsLeft = Number.POSITIVE_INFINITY;
  cuts = 0;
  /** Alters one byte when `forwarded` passes this. */
  alterAt = Number.POSITIVE_INFINITY;
  /** New connections are refused. */
  closed = false;
  #nextCut = Number.POSITIVE_INFINITY;

  private constructor(target: number) {
    this.#server = createServer((near) => {
      if (this.closed) {
        near.destroy();
        return;
      }
      const far = connect({ host: '127.0.0.1', port: target });
      const pair = [near, far] as const;
      this.#pairs.add(pair);
      near.on('data', (bytes) => this.#forward(bytes as Buffer, far));
      far.on('data', (bytes) => near.write(bytes));
      for (const socket of pair) {
        socket.on('error', () => {});
        socket.on('close', () => {
          this.#pairs.delete(pair);
          for (const other of pair) other.destroy();
        });
      }
    });
  }

  /** Starts one in front of a port of this machine. */
  static async start(target: number): Promise<CuttingProxy> {
    const proxy = new CuttingProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Cuts every connection. */
  cut(): void {
    this.cuts++;
    for (const [near, far] of this.#pairs) {
      near.destroy();
      far.destroy();
    }
  }

  close(): void {
    this.closed = true;
    this.cut();
    this.#server.close();
  }

  #forward(bytes: Buffer, far: Socket): void {
    const before = this.forwarded;
    this.forwarded += bytes.length;
    if (before <= this.alterAt && this.alterAt < this.forwarded) {
      const at = this.alterAt - before;
      bytes[at] = (bytes[at] as number) ^ 0x10;
      this.alterAt = Number.POSITIVE_INFINITY;
    }
    far.write(bytes);
    if (!Number.isFinite(this.#nextCut)) this.#nextCut = this.cutEvery;
    if (this.forwarded < this.#nextCut || this.cutsLeft <= 0) return;
    this.cutsLeft--;
    this.#nextCut = this.forwarded + this.cutEvery;
    this.cut();
  }
}
